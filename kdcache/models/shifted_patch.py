"""Shifted patch tokenisation (Lee et al. 2021, arXiv:2112.13492), and vision transformers that begin with it.

Every token sees its patch and half a patch further in every direction, through five copies of the image, and
these pixels are normalised before they are projected: some locality for transformers that see little data.
Importing this module registers the models with timm; there are no pretrained weights to fetch.
"""

from typing import Any

import torch
from timm.layers import Format, PatchEmbed, nhwc_to, to_2tuple  # type: ignore[attr-defined]  # timm lists no exports
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from kdcache.errors import ConfigError
from kdcache.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

__all__ = [
    "ShiftedPatchEmbed",
    "deit_tiny_distilled_shifted_patch16_224",
    "shift_diagonally",
    "vit_small_shifted_patch16_224",
    "vit_tiny_shifted_patch16_224",
]

_NUM_IMAGES = 5


class ShiftedPatchEmbed(PatchEmbed):
    """A patch embedding for the ``embed_layer`` of timm's VisionTransformer: shift, cut, LayerNorm, project.

    Arguments, attributes and output are those of timm's ``PatchEmbed``, with ``patch_norm`` beside them. Where
    an image is padded to whole patches (``dynamic_img_pad``), it is padded first and shifted then.

    Args:
        img_size: of the images; None for any.
        patch_size: one number or (height, width), 2 or more.
        in_chans: channels of the images.
        embed_dim: channels of a token.
        **kwargs: timm's own: ``norm_layer``, ``flatten``, ``output_fmt``, ``bias``, ``strict_img_size``, ...

    Raises:
        ConfigError: a patch has no half.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] | None = 224,
        patch_size: int | tuple[int, int] = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        **kwargs: Any,
    ) -> None:
        if min(to_2tuple(patch_size)) < 2:
            raise ConfigError(
                f"patch_size is {patch_size}, but images are shifted by half a patch: expected >= 2"
            )
        super().__init__(img_size, to_2tuple(patch_size), _NUM_IMAGES * in_chans, embed_dim, **kwargs)
        weight = self.proj.weight
        self.patch_norm = nn.LayerNorm(weight[0].numel(), device=weight.device, dtype=weight.dtype)

    def set_input_size(
        self,
        img_size: int | tuple[int, int] | None = None,
        patch_size: int | tuple[int, int] | None = None,
    ) -> None:
        """Take images of another size from now on.

        Raises:
            ConfigError: ``patch_size`` is another one; the norm over the pixels of a patch cannot be resampled.
        """
        if patch_size is not None and to_2tuple(patch_size) != self.patch_size:
            raise ConfigError(
                f"patch_size is {self.patch_size} and cannot become {to_2tuple(patch_size)} after construction; "
                "build the model with the patch_size that you want"
            )
        super().set_input_size(None if img_size is None else to_2tuple(img_size))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the tokens (B, L, embed_dim), or in timm's ``output_fmt``.

        Raises:
            ConfigError: the images do not have the size that the module was built for.
        """
        height, width = images_BCHW.shape[-2:]
        self._check_size(height, width)
        patch_height, patch_width = self.patch_size
        if self.dynamic_img_pad:
            images_BCHW = pad(images_BCHW, (0, -width % patch_width, 0, -height % patch_height))
        shifted_BCHW = shift_diagonally(images_BCHW, patch_height // 2, patch_width // 2)
        rows, columns = self.dynamic_feat_size((height, width))
        # As a convolution does, leave out what is no whole patch.
        whole_BCHW = shifted_BCHW[..., : rows * patch_height, : columns * patch_width]
        cells_BCRPSQ = whole_BCHW.unflatten(3, (columns, patch_width)).unflatten(2, (rows, patch_height))
        pixels_BRSN = cells_BCRPSQ.permute(0, 2, 4, 1, 3, 5).flatten(3)
        # proj stays a convolution, as timm's code for checkpoints expects; its weights serve as a matrix.
        tokens_BRSD = linear(self.patch_norm(pixels_BRSN), self.proj.weight.flatten(1), self.proj.bias)
        output: Tensor = self.norm(nhwc_to(tokens_BRSD, Format.NLC if self.flatten else self.output_fmt))
        return output

    def _check_size(self, height: int, width: int) -> None:
        if self.img_size is None:
            return
        if self.strict_img_size and (height, width) != self.img_size:
            raise ConfigError(
                f"images are {height} x {width}, expected {self.img_size[0]} x {self.img_size[1]}: build the model "
                "with their img_size, or with dynamic_img_size"
            )
        if not self.strict_img_size and not self.dynamic_img_pad:
            patch_height, patch_width = self.patch_size
            if height % patch_height or width % patch_width:
                raise ConfigError(
                    f"images are {height} x {width}, expected whole patches of {patch_height} x {patch_width}: "
                    "resize them, or build the model with dynamic_img_pad"
                )


def shift_diagonally(images_BCHW: Tensor, rows: int, columns: int) -> Tensor:
    """Return (B, 5 * C, H, W): the images, then moved left-up, right-up, left-down and right-down.

    What moves out is lost, and zeros come in: zero is the mean colour of normalised images.

    Args:
        images_BCHW: any images.
        rows: how far up or down.
        columns: how far left or right.
    """
    height, width = images_BCHW.shape[-2:]
    padded_BCHW = pad(images_BCHW, (columns, columns, rows, rows))
    # Content moves up where the window on the padded image moves down.
    corners = ((rows, columns), (2 * rows, 2 * columns), (2 * rows, 0), (0, 2 * columns), (0, 0))
    return torch.cat([padded_BCHW[..., y : y + height, x : x + width] for y, x in corners], dim=1)


def _cfg(**changes: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": None,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "fixed_input_size": True,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        **changes,
    }


default_cfgs = generate_default_cfgs(
    {
        "vit_tiny_shifted_patch16_224": _cfg(),
        "vit_small_shifted_patch16_224": _cfg(),
        "deit_tiny_distilled_shifted_patch16_224": _cfg(classifier=("head", "head_dist")),
    }
)

_TINY = {"patch_size": 16, "embed_dim": 192, "depth": 12, "num_heads": 3}
_SMALL = {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6}


def _create(
    family: type[VisionTransformer], variant: str, pretrained: bool, arguments: dict[str, Any]
) -> VisionTransformer:
    model: VisionTransformer = build_model_with_cfg(
        family,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": arguments.pop("out_indices", 3), "feature_cls": "getter"},
        **{"embed_layer": ShiftedPatchEmbed, **arguments},
    )
    return model


@register_model
def vit_tiny_shifted_patch16_224(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Make ViT-Ti/16 with shifted patches."""
    return _create(VisionTransformer, "vit_tiny_shifted_patch16_224", pretrained, {**_TINY, **kwargs})


@register_model
def vit_small_shifted_patch16_224(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Make ViT-S/16 with shifted patches."""
    return _create(VisionTransformer, "vit_small_shifted_patch16_224", pretrained, {**_SMALL, **kwargs})


@register_model
def deit_tiny_distilled_shifted_patch16_224(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Make DeiT-Ti/16 with shifted patches and a distillation token."""
    name = "deit_tiny_distilled_shifted_patch16_224"
    return _create(VisionTransformerDistilled, name, pretrained, {**_TINY, **kwargs})

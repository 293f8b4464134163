"""Students: timm models, with what training must know about them."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from kdcache.errors import ConfigError
from kdcache.models import rednet, shifted_patch  # noqa: F401 - for their effect: timm then knows them
from kdcache.models.features import count_features
from kdcache.models.preprocess import InputSpec, Preprocess, input_spec_of

__all__ = ["Student", "build_student", "heads_of"]

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Student:
    """A model to train, and the input that it expects.

    Attributes:
        model: maps normalised images (B, 3, h, w) to logits (B, C).
        spec: the input that the model was built for.
        takes_any_size: the model is not tied to ``spec``'s size: it takes views as they are.
        has_distillation_head: a second head reads a distillation token (DeiT) or plays that part; in
            evaluation such a model returns the average of both heads.
    """

    model: nn.Module
    name: str
    num_classes: int
    spec: InputSpec
    takes_any_size: bool
    has_distillation_head: bool

    def input_size(self, view_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) at which the model sees views of ``view_size``."""
        return view_size if self.takes_any_size else (self.spec.height, self.spec.width)

    def preprocess(self, view_size: tuple[int, int]) -> Preprocess:
        """Return what turns uint8 views of ``view_size`` into the model's input, on its device."""
        height, width = self.input_size(view_size)
        return Preprocess(dataclasses.replace(self.spec, height=height, width=width))

    def num_features(self) -> int:
        """Return how many numbers the classifier is given: those that ``features_and_output`` gives.

        Raises:
            ConfigError: the model does not follow timm's convention.
        """
        size = (self.spec.height, self.spec.width)
        return count_features(
            self.model, size, where=f"student {self.name!r}", remedy="train it without the feature loss"
        )

    def separate_heads(self, *, separate: bool) -> None:
        """Let the model, while it trains, return (class logits, distillation logits), or their average."""
        if self.has_distillation_head:
            self.model.set_distilled_training(separate)  # type: ignore[operator]  # timm's convention


def heads_of(output: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return (class logits, distillation logits) (B, C); a model with one head gives the same twice."""
    return output if isinstance(output, tuple) else (output, output)


def build_student(
    name: str,
    *,
    num_classes: int,
    seed: int,
    kwargs: Mapping[str, Any] | None = None,
    pretrained: bool = False,
    checkpoint: str | None = None,
    mean: Rgb | None = None,
    std: Rgb | None = None,
    head_init_scale: float | None = None,
    grad_checkpointing: bool = False,
) -> Student:
    """Build a timm model on the CPU; ``seed`` alone decides its initial weights.

    ``mean`` and ``std`` default to those of the model's ``pretrained_cfg``; ``kwargs`` (img_size,
    drop_path_rate, ...) go to ``timm.create_model``; ``head_init_scale`` is a factor on the classifier's
    weights. The global random state is left as it was.

    Raises:
        ConfigError: timm has no such model, the arguments or the checkpoint do not fit, pretrained
            weights cannot be had, or the model cannot checkpoint its gradients or scale its head.
    """
    kwargs = dict(kwargs or {})
    if not timm.is_model(name):
        raise ConfigError(_unknown(name))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            model = timm.create_model(
                name,
                pretrained=pretrained,
                checkpoint_path=checkpoint or "",
                num_classes=num_classes,
                **kwargs,
            )
        except (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            source = f", weights from {checkpoint}" if checkpoint else ", pretrained weights" * pretrained
            raise ConfigError(
                f"student {name!r} (num_classes={num_classes}, {kwargs}{source}) cannot be built: "
                f"{type(error).__name__}: {' '.join(str(error).split()) or 'file not found'}; "
                "check --student-kwargs and paths"
            ) from error
    if head_init_scale is not None:
        _scale_head(model, name, head_init_scale)
    if grad_checkpointing:
        _checkpoint_gradients(model, name)
    return Student(
        model=model,
        name=name,
        num_classes=num_classes,
        spec=_spec(model, name, kwargs.get("img_size"), mean=mean, std=std),
        takes_any_size="img_size" not in kwargs and not _cfg(model).get("fixed_input_size"),
        has_distillation_head=_has_distillation_head(model),
    )


def _scale_head(model: nn.Module, name: str, factor: float) -> None:
    found = model.get_classifier()  # type: ignore[operator]  # timm's convention
    heads = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(head, nn.Linear | nn.Conv2d) for head in heads):
        raise ConfigError(
            f"head_init_scale {factor:g}: the classifier of {name!r} is {type(found).__name__}, expected a linear "
            "layer; leave out --head-init-scale"
        )
    with torch.no_grad():
        for head in heads:
            for parameter in head.parameters():
                parameter.mul_(factor)


def _checkpoint_gradients(model: nn.Module, name: str) -> None:
    try:
        model.set_grad_checkpointing(True)  # type: ignore[operator]  # timm's convention
    except (AssertionError, AttributeError, NotImplementedError) as error:
        raise ConfigError(
            f"student {name!r} has no gradient checkpointing ({error}); leave out --grad-checkpointing"
        ) from error


def _cfg(model: nn.Module) -> Mapping[str, Any]:
    return model.pretrained_cfg  # type: ignore[return-value]  # a dict on every timm model


def _spec(
    model: nn.Module, name: str, img_size: int | tuple[int, int] | None, *, mean: Rgb | None, std: Rgb | None
) -> InputSpec:
    spec = input_spec_of(model, where=f"student {name!r}")
    height, width = (
        (img_size, img_size) if isinstance(img_size, int) else img_size or (spec.height, spec.width)
    )
    return dataclasses.replace(spec, height=height, width=width, mean=mean or spec.mean, std=std or spec.std)


def _has_distillation_head(model: nn.Module) -> bool:
    """Look for timm's second head; variants without one keep an empty module in its place, or nothing."""
    heads = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "head_dist"]
    return any(next(head.parameters(), None) is not None for head in heads)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"student {name!r}: timm {timm.__version__} has no such model; {hint}timm.list_models() lists them"

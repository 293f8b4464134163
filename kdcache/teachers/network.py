"""A torch module as a teacher: its own preprocessing, autocast, and a classifier in float32."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdcache.errors import TeacherError
from kdcache.models.features import WithFeatures, count_features
from kdcache.models.preprocess import InputSpec, Preprocess
from kdcache.runtime.device import Precision, autocast
from kdcache.teachers.weights import module_sha256

__all__ = ["NetworkTeacher", "classifier_names", "keep_in_float32"]


class NetworkTeacher:
    """A frozen module on a device; see ``protocol.FeatureTeacher`` for its attributes."""

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        architecture: str,
        source: str,
        inputs: InputSpec,
        precision: Precision,
        device: torch.device,
        compile_it: bool = False,
        features: bool = False,
    ) -> None:
        self.name = name
        self.class_map_sha256: str | None = None
        self.ensemble: dict[str, Any] | None = None
        self.architecture = architecture
        self.source = source
        self.inputs: InputSpec | None = inputs
        self._size = (inputs.height, inputs.width)
        self.precision: Precision = precision
        self.device = device
        self.weights_sha256 = module_sha256(module)
        self._preprocess = Preprocess(inputs).to(device)
        self._network: nn.Module = module.eval().requires_grad_(requires_grad=False)
        self._network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.num_classes = self._count_classes()
        if precision != "float32":
            keep_in_float32(self._network, classifier_names(self._network, self.num_classes))
        self.num_features = self._count_features() if features else 0
        self._with_features = WithFeatures(self._network)
        if compile_it:
            self._network.compile()
            self._with_features.compile()

    def __call__(self, views_B3HW: Tensor) -> Tensor:
        """Return float32 logits (B, C) of uint8 views on the teacher's device."""
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits_BC: Tensor = self._network(self._images(views_B3HW))
            return logits_BC.to(torch.float32)

    def with_features(self, views_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and float32 features (B, D), of one forward pass."""
        with torch.inference_mode(), autocast(self.device, self.precision):
            features_BD, logits_BC = self._with_features(self._images(views_B3HW))
            return logits_BC.to(torch.float32), features_BD.to(torch.float32)

    def _images(self, views_B3HW: Tensor) -> Tensor:
        images_B3HW: Tensor = self._preprocess(views_B3HW)
        return images_B3HW.contiguous(memory_format=torch.channels_last)

    def _count_features(self) -> int:
        return count_features(
            self._network,
            self._size,
            where=f"teacher {self.name!r} ({self.architecture})",
            remedy="leave out --store-features (features: true) for it",
        )

    def _count_classes(self) -> int:
        height, width = self._size
        image_13HW = torch.zeros((1, 3, height, width), device=self.device).contiguous(
            memory_format=torch.channels_last
        )
        try:
            with torch.inference_mode():
                output = self._network(image_13HW)
        except Exception as error:
            # A network may raise whatever it likes when its input does not fit.
            raise TeacherError(
                f"teacher {self.name!r} ({self.architecture}) cannot take an image of "
                f"{height} x {width}: {error}; give its size with --teacher-size"
            ) from error
        if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
            raise TeacherError(
                f"teacher {self.name!r} ({self.architecture}) returns {_described(output)} for one image, "
                "expected logits (1, number of classes); wrap it in a module:factory that returns them"
            )
        return int(output.shape[1])


def _described(output: object) -> str:
    return f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"


def classifier_names(module: nn.Module, num_classes: int) -> tuple[str, ...]:
    """Return the names of the layers that make the logits.

    timm's ``get_classifier`` knows them; in other networks it is the last linear layer or 1 x 1 convolution
    with one output per class.
    """
    names = {id(layer): name for name, layer in module.named_modules()}
    get_classifier: Callable[[], object] = getattr(module, "get_classifier", tuple)
    found = get_classifier()
    layers = found if isinstance(found, tuple | list) else (found,)
    known = tuple(names[id(layer)] for layer in layers if names.get(id(layer)))
    if known:
        return known
    makers = [name for name, layer in module.named_modules() if name and _outputs(layer) == num_classes]
    return tuple(makers[-1:])


def _outputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None


def keep_in_float32(module: nn.Module, names: tuple[str, ...]) -> None:
    """Run the named layers outside autocast: in half precision one row in four ties at the cut."""
    for name in names:
        parent_name, _, child = name.rpartition(".")
        parent = module.get_submodule(parent_name)
        setattr(parent, child, _OutsideAutocast(module.get_submodule(name)))


class _OutsideAutocast(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            output: Tensor = self.inner(features.to(torch.float32))
            return output

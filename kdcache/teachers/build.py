"""From a teacher's settings to a teacher."""

import torch
from torch import nn

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError
from kdcache.models.preprocess import InputSpec, input_spec_of
from kdcache.teachers.class_map import read_class_map
from kdcache.teachers.custom import custom_network
from kdcache.teachers.mapped import MappedTeacher
from kdcache.teachers.network import NetworkTeacher
from kdcache.teachers.protocol import FeatureTeacher

__all__ = ["build_teacher"]

_HUB_PREFIXES = ("hf-hub:", "hf_hub:", "local-dir:")


def build_teacher(
    config: TeacherConfig,
    *,
    device: torch.device,
    view_size: tuple[int, int] | None = None,
    compile_it: bool = False,
) -> FeatureTeacher:
    """Build the network, load its weights and put it on ``device``, behind its class map if it has one.

    Args:
        config: the teacher's settings.
        device: where it computes.
        view_size: the (height, width) to take for a network that does not say its own.
        compile_it: run it through ``torch.compile``.

    Raises:
        ConfigError: the settings name something that does not exist, or say too little, or ask for features
            of a network that gives none.
        TeacherError: weights cannot be had or don't fit, or the outputs are no logits.
    """
    is_custom = ":" in config.model and not config.model.startswith(_HUB_PREFIXES)
    module, source = custom_network(config) if is_custom else _timm_network(config)
    class_map = None if config.class_map is None else read_class_map(config.class_map)
    teacher = NetworkTeacher(
        module,
        name=config.cache_name,
        architecture=config.model,
        source=source,
        inputs=_inputs(config, module, view_size),
        precision=config.precision,
        device=device,
        compile_it=compile_it,
        features=config.features,
    )
    return teacher if class_map is None else MappedTeacher(teacher, class_map)


def _timm_network(config: TeacherConfig) -> tuple[nn.Module, str]:
    from kdcache.teachers.timm_teacher import timm_network  # noqa: PLC0415 - timm takes seconds to import

    return timm_network(config)


def _inputs(config: TeacherConfig, module: nn.Module, view_size: tuple[int, int] | None) -> InputSpec:
    """Return what the network says of its input, with what the settings say in its place."""
    size = (config.size, config.size) if isinstance(config.size, int) else config.size
    if not getattr(module, "pretrained_cfg", None):
        return _inputs_of_stranger(config, size or view_size)
    own = input_spec_of(module, where=f"teacher {config.cache_name!r}")
    height, width = size or (own.height, own.width)
    return InputSpec(
        height,
        width,
        config.mean or own.mean,
        config.std or own.std,
        config.interpolation or own.interpolation,
    )


def _inputs_of_stranger(config: TeacherConfig, size: tuple[int, int] | None) -> InputSpec:
    if config.mean is None or config.std is None or size is None:
        raise ConfigError(
            f"teacher {config.cache_name!r} ({config.model}) has no pretrained_cfg that says how its input "
            "is normalised; give --teacher-mean and --teacher-std (for pixels in [0, 1]), and --teacher-size "
            "if it differs from the view's"
        )
    return InputSpec(*size, config.mean, config.std, config.interpolation or "bicubic")

"""Teachers by timm name: pretrained, or with a local checkpoint."""

import difflib
from typing import Any

import timm
from torch import nn

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError, KdcacheError, TeacherError
from kdcache.models import rednet, shifted_patch  # noqa: F401 - for their effect: timm then knows them
from kdcache.teachers.weights import load_strictly, read_weights

__all__ = ["timm_network"]


def timm_network(config: TeacherConfig) -> tuple[nn.Module, str]:
    """Return timm's network with weights, and where the weights are from.

    Raises:
        ConfigError: timm knows no such network, or it refuses the keyword arguments.
        TeacherError: the weights cannot be had, or don't fit.
    """
    _demand_known(config.model)
    if config.checkpoint is None:
        return _create(config, pretrained=True), f"timm {timm.__version__} pretrained {config.model}"
    module = _create(config, pretrained=False)
    load_strictly(module, read_weights(config.checkpoint), where=str(config.checkpoint))
    return module, f"checkpoint {config.checkpoint.name}"


def _create(config: TeacherConfig, *, pretrained: bool) -> nn.Module:
    try:
        module: nn.Module = timm.create_model(config.model, pretrained=pretrained, **config.kwargs)
    except KdcacheError:
        raise
    except (TypeError, AssertionError, KeyError, ValueError) as error:
        raise ConfigError(
            f"timm cannot build {config.model!r} with {_shown(config.kwargs)}: {error}; "
            "check --teacher-kwargs"
        ) from error
    except Exception as error:
        # Hub clients raise their own kinds of errors for a missing network, file or permission.
        if not pretrained:
            raise TeacherError(f"timm cannot build {config.model!r}: {error}") from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise TeacherError(
            f"the pretrained weights of {config.model!r} cannot be had: {reason}; "
            "fetch them on a machine with a network and give the file with --teacher-checkpoint"
        ) from error
    return module


def _demand_known(model: str) -> None:
    architecture, _, tag = model.partition(".")
    # A hub address (hf-hub:org/name) is resolved by timm itself.
    if ":" in model:
        return
    if timm.is_model(architecture):
        _demand_known_tag(architecture, tag)
        return
    near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists what it has"
    raise ConfigError(f"timm has no network {architecture!r}; {hint} (your own: --teacher module:factory)")


def _demand_known_tag(architecture: str, tag: str) -> None:
    known = [name.partition(".")[2] for name in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in known:
        raise ConfigError(
            f"timm has no weights {tag!r} for {architecture}, but {', '.join(known) or 'none at all'}; "
            "choose one of them, or leave the tag out and give --teacher-checkpoint"
        )


def _shown(kwargs: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in kwargs.items()) or "no arguments"

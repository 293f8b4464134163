"""A teacher's settings, completed by what a cache says of it."""

from typing import Any

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError
from kdcache.store.manifest import TeacherIdentity

__all__ = ["as_cached"]


def as_cached(config: TeacherConfig, name: str, entry: TeacherIdentity) -> TeacherConfig:
    """Return the settings with the cache's preprocessing and precision.

    Raises:
        ConfigError: the cache's teacher is an ensemble, which no network stands for, or an embedding.
    """
    if entry.features_of is not None:
        raise ConfigError(
            f"{name!r} holds the features of teacher {entry.features_of.teacher!r}; name that teacher (with "
            "--store-features for its features, too)"
        )
    inputs = entry.preprocessing
    if inputs is None:
        raise ConfigError(
            f"{name!r} is an ensemble ({entry.architecture}): no network gives its targets; name one of its members"
        )
    settings: dict[str, Any] = config.model_dump(exclude_unset=True) | {
        "name": name,
        "precision": entry.precision,
        "size": (inputs.height, inputs.width),
        "mean": inputs.mean,
        "std": inputs.std,
        "interpolation": inputs.interpolation,
    }
    return TeacherConfig.parse(settings, where=f"teacher {name!r} as the cache describes it")

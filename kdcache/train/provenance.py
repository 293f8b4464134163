"""What a student was made from: the cache's views and teachers, and the software."""

from importlib.metadata import version
from typing import Any

from kdcache.config.train import TrainConfig
from kdcache.store.reader import Cache

__all__ = ["provenance", "teachers_of"]

_OTHER_WEIGHTS = ("distill_loss_weight_end", "feature_loss_weight")
_SOFTWARE = ("kdcache", "timm", "torch")


def teachers_of(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the teachers that a run learns from; none with labels only."""
    settings = config.model_dump()
    if settings["distill_loss_weight"] == 0 and not any(settings.get(name) for name in _OTHER_WEIGHTS):
        return ()
    names = settings["teacher"] or ()
    return (names,) if isinstance(names, str) else tuple(names)


def provenance(config: TrainConfig, cache: Cache) -> dict[str, Any]:
    """Return what ``report.json`` says about the origin of the weights, as JSON values."""
    identity = cache.identity
    teachers = {name: identity.teachers[name] for name in teachers_of(config) if name in identity.teachers}
    return {
        "samples": sum(shard.num_samples for shard in identity.shards),
        "num_classes": config.num_classes,
        "view_size": [identity.policy.height, identity.policy.width],
        "view_policy": identity.policy.model_dump(mode="json", exclude_none=True),
        "policy_digest": identity.policy_digest,
        "num_aug_seeds": identity.num_aug_seeds,
        "teachers": {
            name: entry.model_dump(mode="json", exclude_none=True) for name, entry in teachers.items()
        },
        "software": {name: version(name) for name in _SOFTWARE},
    }

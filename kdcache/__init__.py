"""kdcache: run the teacher once, train any number of students from its cached logits.

The names below are the library; each is imported from its module when it is first touched, so that
``import kdcache`` costs nothing. The two stages are ``kdcache.precompute.precompute`` and
``kdcache.train.train`` (or the commands of the same names).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdcache.config.precompute import PrecomputeConfig
    from kdcache.config.train import TrainConfig
    from kdcache.config.views import ViewPolicy
    from kdcache.data.batch import DistillBatch
    from kdcache.data.evaluation import eval_loader
    from kdcache.data.loader import distill_loader
    from kdcache.errors import KdcacheError
    from kdcache.keys import ViewKey
    from kdcache.logits import TopKLogits
    from kdcache.losses.distill import hard, kl
    from kdcache.losses.registry import distill_loss
    from kdcache.losses.targets import TeacherTargets
    from kdcache.store.reader import Cache, open_cache
    from kdcache.store.verify import verify
    from kdcache.views.render import render_views

    __version__: str

__all__ = [
    "Cache",
    "DistillBatch",
    "KdcacheError",
    "PrecomputeConfig",
    "TeacherTargets",
    "TopKLogits",
    "TrainConfig",
    "ViewKey",
    "ViewPolicy",
    "__version__",
    "distill_loader",
    "distill_loss",
    "eval_loader",
    "hard",
    "kl",
    "open_cache",
    "render_views",
    "verify",
]

_HOME = {
    "Cache": "kdcache.store.reader",
    "DistillBatch": "kdcache.data.batch",
    "KdcacheError": "kdcache.errors",
    "PrecomputeConfig": "kdcache.config.precompute",
    "TeacherTargets": "kdcache.losses.targets",
    "TopKLogits": "kdcache.logits",
    "TrainConfig": "kdcache.config.train",
    "ViewKey": "kdcache.keys",
    "ViewPolicy": "kdcache.config.views",
    "distill_loader": "kdcache.data.loader",
    "distill_loss": "kdcache.losses.registry",
    "eval_loader": "kdcache.data.evaluation",
    "hard": "kdcache.losses.distill",
    "kl": "kdcache.losses.distill",
    "open_cache": "kdcache.store.reader",
    "render_views": "kdcache.views.render",
    "verify": "kdcache.store.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("kdcache")
    if name not in _HOME:
        raise AttributeError(f"module 'kdcache' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names before they are imported."""
    return sorted({*globals(), *__all__})

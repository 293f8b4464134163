"""The validation shards of a run: which views of them, and whose targets."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from kdcache.config.train import TrainConfig
from kdcache.config.views import ViewPolicy
from kdcache.data.evaluation import EvalLoader, eval_loader
from kdcache.errors import ConfigError
from kdcache.models.preprocess import Preprocess
from kdcache.runtime.device import Precision, autocast
from kdcache.runtime.dist import World
from kdcache.store.reader import Cache, open_cache
from kdcache.students import Student
from kdcache.train.evaluate import EvalReport, evaluate

__all__ = ["Validation", "open_validation"]


@dataclass(frozen=True, slots=True)
class Validation:
    """Evaluates a student on the validation shards."""

    loader: EvalLoader
    preprocess: Preprocess
    precision: Precision

    def run(self, model: nn.Module, *, world: World, each: Callable[[], None]) -> EvalReport:
        """Return the report of all processes; ``each`` is called after every batch and may raise."""
        device = next(model.parameters()).device
        with autocast(device, self.precision):
            return evaluate(
                model,
                self.loader,
                preprocess=self.preprocess.to(device),
                device=device,
                world=world,
                each=each,
            )


def open_validation(
    config: TrainConfig, student: Student, *, view_size: tuple[int, int], world: World
) -> Validation | None:
    """Return the validation of a run, None without validation shards.

    Its views are those of ``val_cache``, or of ``val_policy``, or ``center`` at the student's size;
    ``view_size`` is the training views', for students that take any size.

    Raises:
        ConfigError: the cache counts other classes than the student, or the teacher must be named.
        ShardError: a shard is broken, or there is neither a label nor a cached teacher to compare with.
    """
    if not config.val:
        return None
    cache = None if config.val_cache is None else open_cache(config.val_cache)
    height, width = student.input_size(view_size)
    loader = eval_loader(
        config.val,
        policy=None if cache else config.val_policy or ViewPolicy.named("center", size=(height, width)),
        cache=cache,
        teachers=None if cache is None else [_teacher(config, cache, student)],
        batch_size=config.val_batch_size or config.batch_size,
        num_workers=config.workers,
        world=world.size,
        rank=world.rank,
        check_views=config.check_views,
        allow_decoder_drift=config.allow_decoder_drift,
        num_classes=student.num_classes,
    )
    size = (loader.policy.height, loader.policy.width)
    return Validation(loader, student.preprocess(size), config.amp_dtype if config.amp else "float32")


def _teacher(config: TrainConfig, cache: Cache, student: Student) -> str:
    """Return the first of the run's own teachers that the cache has, else the only one it has."""
    names = [name for name in config.teacher if name in cache.teachers][:1] or list(cache.teachers)
    if len(names) != 1:
        raise ConfigError(
            f"--val-cache {cache.url} has the teachers {', '.join(names) or '(none)'} and none of the run's "
            f"({', '.join(config.teacher)}); name one that both caches have with --teacher"
        )
    num_classes = cache.identity.teachers[names[0]].num_classes
    if num_classes != student.num_classes:
        raise ConfigError(
            f"--val-cache {cache.url} counts {num_classes} classes, the student {student.num_classes}; "
            "precompute the validation shards with the teacher of the training shards"
        )
    return names[0]

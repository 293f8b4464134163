"""From settings to the parts of a run; everything that can be refused is refused here, before a step is taken."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kdcache.config.train import TrainConfig
from kdcache.data.index import expand_shards, index_shards
from kdcache.data.loader import DistillLoader, distill_loader
from kdcache.errors import ConfigError, ShardError
from kdcache.losses.registry import DISTILL_LOSSES
from kdcache.losses.targets import TeacherTargets
from kdcache.runtime.dist import World
from kdcache.store.reader import Cache
from kdcache.students import Student, build_student
from kdcache.train.feature_learner import FeatureLearner, build_learner
from kdcache.train.mass import MassVerdict, judge, mean_kept_mass
from kdcache.train.objective import Objective
from kdcache.train.plan import RunPlan, plan_run
from kdcache.train.validation import Validation, open_validation

__all__ = ["Preparation", "prepare"]

_GUARDED_UNITS = 4


@dataclass(frozen=True, slots=True)
class Preparation:
    """The parts of a run.

    Attributes:
        config: with everything filled in that was left open.
        notices: what people should know before the run.
        learner: the student with what compares its features, where there is a loss on them.
        kept_mass: share of the teacher's mass in the kept classes at the run's temperature, if it matters.
    """

    config: TrainConfig
    loader: DistillLoader
    validation: Validation | None
    student: Student
    learner: FeatureLearner | None
    objective: Objective
    plan: RunPlan
    notices: tuple[str, ...]
    kept_mass: float | None

    @property
    def view_size(self) -> tuple[int, int]:
        """(height, width) of the training views."""
        return _view_size(self.loader.cache)

    def to_text(self) -> str:
        """Return the length of the run in a few lines, for people."""
        return "\n".join((self.plan.describe(), *self.notices))

    def to_json(self) -> str:
        """Return the length of the run as JSON."""
        plan = asdict(self.plan) | {"epochs": self.plan.epochs, "epochs_per_view": self.plan.epochs_per_view}
        return json.dumps(plan | {"kept_mass": self.kept_mass, "notices": self.notices}, indent=2)


def prepare(
    config: TrainConfig,
    cache: Cache,
    *,
    world: World,
    pin_memory: bool,
    snapshot: Mapping[int, Sequence[int]] | None = None,
) -> Preparation:
    """Build everything that a run needs; ``snapshot`` is that of the checkpoint it goes on from.

    Raises:
        ConfigError: settings that do not go together or do not fit the cache.
        ShardError: a shard is broken, or has samples without labels where labels are all there is.
        StoreError: shards and cache do not belong together, or nothing is cached yet.
    """
    teachers = _choose_teachers(config, cache)
    student = _student(config, cache, teachers)
    objective = Objective.of(config, teachers=teachers, has_distillation_head=student.has_distillation_head)
    student.separate_heads(separate=objective.separates_heads)
    if objective.needs_labels:
        _demand_labels(config.shards)
    loader = distill_loader(
        config.shards,
        cache=cache,
        batch_size=config.batch_size,
        teachers=teachers,
        with_targets=objective.needs_targets,
        features=teachers if objective.feature_loss_weight else (),
        run_seed=config.seed,
        num_workers=config.workers,
        world=world.size,
        rank=world.rank,
        check_views=config.check_views,
        views_per_decode=config.views_per_decode,
        lanes=config.lanes,
        shuffle_window=config.shuffle_window,
        allow_decoder_drift=config.allow_decoder_drift,
        pin_memory=pin_memory,
        snapshot=snapshot,
    )
    verdicts = _guard(objective, loader, force=config.force_temperature)
    plan = plan_run(
        config,
        num_samples=loader.num_samples,
        num_batches=loader.num_batches,
        num_views=loader.num_aug_seeds,
        world=world.size,
        lanes=loader.plan(0).num_lanes,
        target_reads=len(loader.snapshot) * len(teachers) * objective.needs_targets,
    )
    config = _filled_in(config, objective, student)
    return Preparation(
        config=config,
        loader=loader,
        validation=open_validation(config, student, view_size=_view_size(cache), world=world),
        student=student,
        learner=build_learner(config, cache, student, objective),
        objective=objective,
        plan=plan,
        notices=_notices(student, cache, objective, verdicts, plan),
        kept_mass=min((verdict.kept_mass for verdict in verdicts), default=None),
    )


def _view_size(cache: Cache) -> tuple[int, int]:
    return cache.identity.policy.height, cache.identity.policy.width


def _choose_teachers(config: TrainConfig, cache: Cache) -> tuple[str, ...]:
    """Return the names that were given, or the only one there is.

    Raises:
        ConfigError: there are several and none was chosen, or one is named twice.
    """
    if len(set(config.teacher)) < len(config.teacher):
        raise ConfigError(f"--teacher names one twice: {', '.join(config.teacher)}; name each once")
    if config.teacher:
        return config.teacher
    if len(cache.teachers) != 1:
        raise ConfigError(
            f"the cache {cache.url} has {len(cache.teachers)} teachers ({', '.join(cache.teachers) or 'none'}); "
            "choose with --teacher, once for each that is wanted"
        )
    return cache.teachers


def _student(config: TrainConfig, cache: Cache, teachers: Sequence[str]) -> Student:
    entries = [cache.identity.teachers[name] for name in teachers if name in cache.identity.teachers]
    num_classes = entries[0].num_classes if entries else cache.identity.num_classes
    if config.num_classes not in {None, num_classes}:
        raise ConfigError(
            f"--num-classes {config.num_classes}: the cache {cache.url} counts {num_classes} classes, and student "
            "and targets must count the same; leave --num-classes out"
        )
    rates = {"drop_rate": config.drop, "drop_path_rate": config.drop_path}
    return build_student(
        config.student,
        num_classes=num_classes,
        seed=config.seed,
        kwargs={name: rate for name, rate in rates.items() if rate} | config.student_kwargs,
        pretrained=config.pretrained,
        checkpoint=config.initial_checkpoint,
        mean=config.mean,
        std=config.std,
        head_init_scale=config.head_init_scale,
        grad_checkpointing=config.grad_checkpointing,
    )


def _demand_labels(shards: Sequence[str]) -> None:
    for index in index_shards(expand_shards(shards)):
        missing = index.num_samples - index.num_labelled
        if missing:
            raise ShardError(
                f"{index.url}: {missing:,} of its {index.num_samples:,} samples have no label, and with labels only "
                "(--distill-loss-weight 0) there is nothing to learn from them; leave out the shards without "
                "labels, or give --distill-loss-weight a value above 0"
            )


def _guard(objective: Objective, loader: DistillLoader, *, force: bool) -> list[MassVerdict]:
    """Try the loss on a few cached units; ``hard`` and labels only have no tail to lose."""
    if not objective.needs_targets:
        return []
    blocks = sorted(loader.snapshot)
    chosen = np.linspace(0, len(blocks) - 1, min(_GUARDED_UNITS, len(blocks))).astype(int)
    units = [(blocks[i], loader.snapshot[blocks[i]]) for i in chosen]
    verdicts = []
    for name in objective.teachers:
        parts = [
            TeacherTargets.from_numpy(loader.cache.targets(name, block, seeds[i % len(seeds)]))
            for i, (block, seeds) in enumerate(units)
        ]
        objective.try_out(parts[0])
        if DISTILL_LOSSES[objective.distill_loss].has_tail:
            verdicts += _verdicts(objective, loader, name, parts, force=force)
    return verdicts


def _verdicts(
    objective: Objective, loader: DistillLoader, name: str, parts: Sequence[TeacherTargets], *, force: bool
) -> list[MassVerdict]:
    entry = loader.cache.identity.teachers[name]
    return [
        judge(
            mean_kept_mass(parts, temperature),
            temperature=temperature,
            top_k=entry.top_k,
            num_classes=entry.num_classes,
            force=force,
        )
        for temperature in objective.temperature.ends
    ]


def _notices(
    student: Student, cache: Cache, objective: Objective, verdicts: Sequence[MassVerdict], plan: RunPlan
) -> tuple[str, ...]:
    view_size = _view_size(cache)
    height, width = student.input_size(view_size)
    notices = [f"{'warning: ' if one.level == 'warning' else ''}{one.message}" for one in verdicts]
    if objective.needs_targets and DISTILL_LOSSES[objective.distill_loss].needs_dense:
        cut = [name for name in objective.teachers if _is_cut(cache, name)]
        notices += [
            f"warning: distill_loss {objective.distill_loss!r} is made for all classes, and of {name!r} only the best "
            f"{cache.identity.teachers[name].top_k} are cached: the rest is spread evenly (precompute with "
            "--encoding dense8 for the exact loss)"
            for name in cut
        ]
    if height > view_size[0] or width > view_size[1]:
        notices.append(
            f"warning: the student takes {height} x {width} pixels, the cached views have {view_size[0]} x "
            f"{view_size[1]} and are enlarged: no detail is gained (--student-kwargs img_size={view_size[0]})"
        )
    return (*notices, *([f"warning: {plan.advice}"] if plan.advice else []))


def _is_cut(cache: Cache, name: str) -> bool:
    entry = cache.identity.teachers[name]
    return entry.top_k < entry.num_classes


def _filled_in(config: TrainConfig, objective: Objective, student: Student) -> TrainConfig:
    filled: dict[str, Any] = {
        "teacher": tuple(objective.teachers),
        "teacher_weights": tuple(objective.teachers.values()) if len(objective.teachers) > 1 else (),
        "num_classes": student.num_classes,
        "task_loss_weight": objective.task_loss_weight.start,
        "distill_loss_weight": objective.distill_loss_weight.start,
        "distill_loss": objective.distill_loss,
        "tail": objective.tail,
    }
    return config.model_copy(update=filled)

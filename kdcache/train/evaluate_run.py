"""``kdcache eval``: the student of a run on any shards, with or without a cached teacher of those shards."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kdcache.config.views import ViewPolicy
from kdcache.data.evaluation import EvalLoader, eval_loader
from kdcache.data.index import expand_shards, index_shards
from kdcache.errors import ConfigError, ManifestMismatchError, ShardError
from kdcache.runtime.device import available_cores, device_name, resolve_device
from kdcache.runtime.dist import World
from kdcache.runtime.progress import make_progress
from kdcache.store.reader import Cache, open_cache
from kdcache.students import Student
from kdcache.train.evaluate import EvalReport, evaluate
from kdcache.train.journal import replace_file
from kdcache.train.per_class import ClassCounts, ClassFigures, to_csv, worst
from kdcache.train.trained import TrainedRun

__all__ = ["RunEvaluation", "evaluate_run"]

_SHOWN_CLASSES = 10


@dataclass(frozen=True, slots=True)
class RunEvaluation:
    """What a student does on some shards.

    Attributes:
        run: the folder of the run; ``weights_file`` holds the weights that were evaluated.
        policy: digest of the view policy of the images.
        teacher: the cached teacher that the student was compared with, if there is one.
        per_class: one row a class.
    """

    run: str
    student: str
    weights_file: str
    device: str
    policy: str
    cache: str | None
    teacher: str | None
    figures: EvalReport
    per_class: tuple[ClassFigures, ...]

    def facts(self) -> dict[str, Any]:
        """Return every field as JSON values, the figures among them by name."""
        fields = asdict(self)
        return {
            **{name: value for name, value in fields.items() if name not in {"figures", "per_class"}},
            **self.figures.facts(),
            "per_class": fields["per_class"],
        }

    def to_json(self) -> str:
        """Return every field as JSON."""
        return json.dumps(self.facts(), indent=2)

    def save_per_class(self, path: Path) -> None:
        """Write the table of all classes as CSV.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            replace_file(path, to_csv(self.per_class).encode())
        except OSError as error:
            raise ConfigError(f"--per-class {path} cannot be written: {error.strerror}") from error

    def to_text(self) -> str:
        """Return the figures and the ten worst classes, for people."""
        figures = self.figures
        rows = [("student", f"{self.student} ({self.weights_file})")]
        rows.append(("samples", f"{figures.samples:,}, {figures.labelled:,} of them labelled"))
        rows.extend(
            (name, shown.format(value))
            for name, shown, value in (
                ("top-1", "{:.2%}", figures.top1),
                ("top-5", "{:.2%}", figures.top5),
                ("loss", "{:.4f}", figures.loss),
                ("ECE", "{:.4f} (15 bins)", figures.ece),
                ("agreement", f"{{:.2%}} with {self.teacher}", figures.agreement),
                ("KL", f"{{:.4f}} from {self.teacher}, T = 1", figures.teacher_kl),
                ("teacher's top-1", "{:.2%}", figures.teacher_top1),
            )
            if value is not None
        )
        return "\n".join([*(f"{name:<16} {value}" for name, value in rows), *self._worst_classes()])

    def _worst_classes(self) -> list[str]:
        rows = worst(self.per_class, _SHOWN_CLASSES)
        if not rows:
            return []
        table = [
            f"{row.label:>8,} {row.samples:>9,} {row.top1:>8.2%} {row.confidence:>11.2%}" for row in rows
        ]
        known = sum(row.samples > 0 for row in self.per_class)
        return [
            "",
            f"worst {len(rows)} of {known:,} classes",
            "   class   samples    top-1  confidence",
            *table,
        ]


def evaluate_run(
    run: TrainedRun,
    shards: Sequence[str],
    *,
    cache: str | Path | None = None,
    teacher: str | None = None,
    policy: ViewPolicy | str | None = None,
    batch_size: int = 256,
    workers: int = 4,
    device: str = "auto",
    check_views: int = 64,
    allow_decoder_drift: bool = False,
    quiet: bool = False,
) -> RunEvaluation:
    """Evaluate the student of a run, in float32.

    The images are the views of ``cache`` (a cache of these shards), or of ``policy`` (the name of a preset: at
    the student's size), or what the run was validated on: its ``val_policy``, or ``center``.

    Raises:
        ConfigError: settings that do not go together.
        ShardError: a shard is broken, or there is neither a label nor a cached teacher.
        StoreError: the cache is damaged, or does not belong to the shards or to the student's classes.
        CheckpointError: the weights are damaged.
    """
    student = run.student()
    torch_device = resolve_device(device)
    opened = None if cache is None else open_cache(cache)
    if opened is None and teacher is not None:
        raise ConfigError(f"--teacher {teacher} names a teacher of a cache; give the cache with --cache")
    name = None if opened is None else _teacher(run, opened, teacher)
    if opened is None or name is None:
        _demand_labels(shards)
    else:
        _demand_classes(opened, name, student)
    loader = eval_loader(
        shards,
        policy=_policy(run, student, policy) if opened is None or policy else None,
        cache=opened,
        teachers=None if name is None else [name],
        batch_size=batch_size,
        num_workers=workers,
        check_views=check_views,
        allow_decoder_drift=allow_decoder_drift,
        num_classes=student.num_classes,
        pin_memory=torch_device.type == "cuda",
    )
    with _threads(torch_device, workers):
        figures, per_class = _measure(student, loader, torch_device, quiet=quiet)
    return RunEvaluation(
        run=str(run.folder),
        student=student.name,
        weights_file=str(run.weights_file),
        device=device_name(torch_device),
        policy=loader.policy.digest(),
        cache=None if opened is None else opened.url,
        teacher=name,
        figures=figures,
        per_class=per_class,
    )


def _measure(
    student: Student, loader: EvalLoader, device: torch.device, *, quiet: bool
) -> tuple[EvalReport, tuple[ClassFigures, ...]]:
    counts = ClassCounts(student.num_classes, device)
    view_size = (loader.policy.height, loader.policy.width)
    with make_progress(f"eval {student.name}", total=len(loader), unit="batches", quiet=quiet) as progress:
        figures = evaluate(
            student.model.to(device),
            loader,
            preprocess=student.preprocess(view_size).to(device),
            device=device,
            world=World(),
            each=lambda: progress.advance(1),
            per_class=counts,
        )
    return figures, counts.figures()


@contextlib.contextmanager
def _threads(device: torch.device, workers: int) -> Iterator[None]:
    """Leave cores to the loader while the student computes on a CPU."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(min(before, max(1, available_cores() - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _policy(run: TrainedRun, student: Student, wanted: ViewPolicy | str | None) -> ViewPolicy:
    """Return the wanted views, or those of the run's own validation."""
    wanted = wanted or run.config.val_policy or "center"
    if isinstance(wanted, ViewPolicy):
        return wanted
    height, width = run.provenance.get("view_size") or (student.spec.height, student.spec.width)
    return ViewPolicy.named(wanted, size=student.input_size((height, width)))


def _teacher(run: TrainedRun, cache: Cache, wanted: str | None) -> str:
    """Return the wanted teacher, or the run's own if the cache has it, or the only one it has."""
    names = [wanted] if wanted else [name for name in cache.teachers if name in run.teachers]
    names = names or list(cache.teachers)
    if len(names) != 1 or names[0] not in cache.teachers:
        raise ConfigError(
            f"the cache {cache.url} has the teachers {', '.join(cache.teachers) or '(none)'}"
            f"{f', and no {wanted!r}' if wanted else ''}; choose one with --teacher"
        )
    return names[0]


def _demand_classes(cache: Cache, teacher: str, student: Student) -> None:
    counted = {cache.identity.teachers[teacher].num_classes, cache.identity.num_classes}
    if counted != {student.num_classes}:
        raise ManifestMismatchError(
            f"the cache {cache.url} counts {' and '.join(map(str, sorted(counted)))} classes, the student "
            f"{student.num_classes}; give a cache of the classes that the student was trained on"
        )


def _demand_labels(shards: Sequence[str]) -> None:
    urls = expand_shards(shards)
    if not any(index.num_labelled for index in index_shards(urls)):
        raise ShardError(
            f"none of the samples of {urls[0]}{f' and {len(urls) - 1} more shards' * (len(urls) > 1)} has a label: "
            "there is nothing to compare the student with; give a cache of these shards with --cache, or shards "
            "with labels"
        )

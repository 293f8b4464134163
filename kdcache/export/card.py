"""The model card: what the run recorded about the weights, and nothing else."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from kdcache.config.train import TrainConfig
from kdcache.export.subject import Subject
from kdcache.train.folder import binding_of

__all__ = ["model_card"]

_HEADER = """\
---
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- knowledge-distillation
- timm
- kdcache
---
"""

_ALWAYS = frozenset(
    {"task_loss_weight", "distill_loss_weight", "distill_loss", "temperature", "epochs", "steps"}
) | {*("batch_size", "opt", "lr", "weight_decay", "sched", "seed")}
_ELSEWHERE = frozenset({"student", "student_kwargs", "num_classes", "teacher", "mean", "std"})
_OF_TEACHERS = frozenset({"distill_loss", "temperature", "tail"})

_FIGURES = {
    "samples": "validation samples",
    "top1": "top-1",
    "top5": "top-5",
    "loss": "cross-entropy",
    "ece": "expected calibration error (15 bins)",
    "agreement": "agreement with the cached teacher",
    "teacher_kl": "KL from the cached teacher, T = 1",
    "teacher_top1": "the cached teacher's top-1",
}


def model_card(subject: Subject, *, name: str) -> str:
    """Return the card as Markdown; ``name`` is the folder that it stands in."""
    parts = [
        _HEADER,
        f"# {name}\n",
        _summary(subject),
        _load(subject, name),
        _origin(subject),
        _recipe(subject.run.config),
        _figures(subject),
        "This card says what the training run recorded. Licence, data and intended use are for its author to add.\n",
    ]
    return "\n".join(parts)


def _summary(subject: Subject) -> str:
    teachers = subject.run.provenance.get("teachers", {})
    by = f"distilled from {_and(sorted(teachers))}" if teachers else "trained on labels"
    kwargs = "".join(f", {name}={value}" for name, value in subject.model_args.items())
    return (
        f"`{subject.student.name}`{f' ({kwargs[2:]})' if kwargs else ''} with {subject.student.num_classes:,} classes, "
        f"{by} by kdcache.\n"
    )


def _load(subject: Subject, name: str) -> str:
    spec = subject.spec
    head = " Its logits are the average of the class head and the distillation head."
    return (
        f"## Load\n\n```python\n{subject.imports}\n\n"
        f'model = timm.create_model("local-dir:{name}", pretrained=True).eval()\n```\n\n'
        f"Input: RGB, {spec.height} x {spec.width}, pixels in [0, 1] normalised with mean {_numbers(spec.mean)} and "
        f"standard deviation {_numbers(spec.std)}.{head if subject.student.has_distillation_head else ''}\n"
    )


def _origin(subject: Subject) -> str:
    report, facts = subject.run.report, subject.run.provenance
    if not facts:
        return "## Made from\n\nThe run was not over when its weights were exported, so nothing is recorded yet.\n"
    policy = facts["view_policy"]
    rows = [
        ("cache", f"`{report['cache_id']}`{f' at {subject.cache_url}' if subject.cache_url else ''}"),
        ("samples", f"{facts['samples']:,}"),
        ("views", f"{facts['num_aug_seeds']:,} of each sample, {_size(facts['view_size'])}"),
        ("view policy", f"{policy['preset']}, digest `{facts['policy_digest'][:12]}`"),
        *((f"teacher {name}", _teacher(entry)) for name, entry in sorted(facts["teachers"].items())),
        ("software", ", ".join(f"{name} {version}" for name, version in facts["software"].items())),
    ]
    text = json.dumps(policy, indent=2)
    return f"## Made from\n\n{_table(rows)}\nThe view policy in full:\n\n```json\n{text}\n```\n"


def _teacher(entry: Mapping[str, Any]) -> str:
    return (
        f"{entry['architecture']}, weights `{entry['weights_sha256'][:12]}`, {entry['encoding']} with "
        f"{entry['top_k']:,} of {entry['num_classes']:,} classes, {entry['precision']}"
    )


def _recipe(config: TrainConfig) -> str:
    return f"## Recipe\n\n{_table((name, _shown(name, value)) for name, value in _settings(config))}"


def _settings(config: TrainConfig) -> Iterator[tuple[str, Any]]:
    """Yield the settings that decide what is learned: the usual ones, and all that are not at their default."""
    fields = type(config).model_fields
    idle = _OF_TEACHERS if config.distill_loss_weight == 0 else frozenset()
    for name, value in binding_of(config).items():
        if value is None or name not in fields or name in _ELSEWHERE | idle:
            continue
        default = fields[name].get_default(call_default_factory=True)
        if name in _ALWAYS or value != (list(default) if isinstance(default, tuple) else default):
            yield name, value


def _shown(name: str, value: Any) -> str:
    return PurePosixPath(value).name if name == "initial_checkpoint" else str(value)


def _figures(subject: Subject) -> str:
    run = subject.run
    evaluation = run.report.get("evaluation" if run.weights == "model" else f"evaluation_{run.weights}")
    if not evaluation:
        return "## Figures\n\nThe run evaluated no such weights; `kdcache eval` does.\n"
    rows = [
        (title, f"{evaluation[name]:,}" if name == "samples" else f"{evaluation[name]:.4f}")
        for name, title in _FIGURES.items()
        if evaluation.get(name) is not None
    ]
    shards = ", ".join(f"`{PurePosixPath(url).name}`" for url in run.config.val)
    return f"## Figures\n\nLast evaluation of the run, on {shards}:\n\n{_table(rows)}"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _numbers(values: Iterable[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _size(size: Iterable[int]) -> str:
    return " x ".join(map(str, size))


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

"""The flags of stage one, and how they are laid over a file of settings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kdcache_cli.key_value import KEY_VALUE

__all__ = ["OPTIONS", "settings_from", "with_options"]

PER_TEACHER = (
    "checkpoint",
    "class_map",
    "kwargs",
    "mean",
    "std",
    "size",
    "precision",
    "top_k",
    "encoding",
    "features",
)


OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--cache", help="Where the cache is or will be."),
    click.option(
        "--teacher",
        "teachers",
        multiple=True,
        metavar="[NAME=]MODEL",
        help="A timm name or module:factory; may be repeated.",
    ),
    click.option(
        "--teacher-checkpoint",
        "teacher_checkpoint",
        multiple=True,
        help="Local weights, one per --teacher in the same order; '-' for none.",
    ),
    click.option(
        "--teacher-class-map", help="JSON or CSV that maps the teacher's classes to those of the cache."
    ),
    click.option(
        "--combine",
        type=click.Choice(["mean-prob", "mean-logit"]),
        help="Store the teachers' mean as one teacher more, called ensemble.",
    ),
    click.option("--combine-weights", help="Of its members, as 1,2,1.  [default: equal]"),
    click.option(
        "--teacher-kwargs",
        type=KEY_VALUE,
        multiple=True,
        help="For timm.create_model or the factory; may be repeated.",
    ),
    click.option(
        "--teacher-mean", type=float, nargs=3, help="Of pixels in [0, 1].  [default: the network's]"
    ),
    click.option("--teacher-std", type=float, nargs=3, help="Likewise."),
    click.option("--teacher-size", type=int, help="Side of the teacher's input.  [default: the network's]"),
    click.option("--precision", "teacher_precision", type=click.Choice(["float32", "bfloat16", "float16"])),
    click.option("--top-k", "teacher_top_k", metavar="K|auto", help="Kept classes.  [default: auto]"),
    click.option(
        "--encoding",
        "teacher_encoding",
        type=click.Choice(["gap8", "dense8", "float32", "hard"]),
        help="[default: dense8 up to 256 classes, else gap8]",
    ),
    click.option(
        "--store-features",
        "teacher_features",
        is_flag=True,
        default=None,
        help="Also store what each teacher's classifier is given, a pooled vector a view, in float16.",
    ),
    click.option(
        "--policy", help="How views are made: center, rrc, deit, three-augment, light.  [default: rrc]"
    ),
    click.option("--size", type=int, help="Side of the views.  [default: 224]"),
    click.option("--views", type=int, help="Views of each sample.  [default: 10]"),
    click.option("--rows-per-block", type=int, help="Samples of a work unit, at most 4096."),
    click.option("--seeds-per-group", type=int, help="Views of each of its samples; must divide --views."),
    click.option("-b", "--batch-size", type=int, help="Views that a teacher sees at once.  [default: 64]"),
    click.option(
        "--teacher-threads", type=int, help="CPU threads of one batch.  [default: 1 on up to 15 cores]"
    ),
    click.option("--parallel-batches", type=int, help="Batches at once on a CPU.  [default: one per core]"),
    click.option("-j", "--readers", type=int, help="Reader processes of a worker.  [default: one per core]"),
    click.option("--workers", type=int, help="Processes on this machine that share the work."),
    click.option("--devices", help="Their devices, as cuda:0,cuda:1; by default one worker for each."),
    click.option("--worker", help="I/N: do share I of N, from 0.  [default: RANK, SLURM_ARRAY_TASK_ID]"),
    click.option(
        "--engine", type=click.Choice(["local", "ray"]), help="Where workers run.  [default: local]"
    ),
    click.option("--ray-address", help="A Ray cluster.  [default: RAY_ADDRESS, or one on this machine]"),
    click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: the best there is]"),
    click.option("--compile", is_flag=True, default=None, help="Run the teachers through torch.compile."),
    click.option(
        "--on-bad-sample",
        type=click.Choice(["skip", "fail"]),
        help="A sample that cannot be decoded: mark it and go on, or stop.  [default: skip]",
    ),
    click.option("--max-bad", help="Share of such samples that stops the run, as 0.01 or 1%.  [default: 5%]"),
    click.option(
        "--skip-teacher-check",
        "teacher_check",
        flag_value=False,
        type=bool,
        default=None,
        help="Don't stop for a teacher that is no better than chance.",
    ),
    click.option("--licence", help="For the manifest: an SPDX identifier, as CC-BY-4.0, or free text."),
    click.option("--contact", help="For the manifest: whom to ask, as an address."),
)


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of stage one."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def settings_from(shards: Sequence[str], config_file: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Lay the flags that were given over the file."""
    from kdcache.config.base import read_yaml

    settings: dict[str, Any] = read_yaml(config_file) if config_file else {}
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    own = {name: given.pop(f"teacher_{name}") for name in PER_TEACHER if f"teacher_{name}" in given}
    weights = given.pop("combine_weights", None)
    if "combine" in given:
        given["combine"] = {"how": given["combine"]} | ({"weights": weights.split(",")} if weights else {})
    elif weights:
        raise click.UsageError("--combine-weights belongs to --combine")
    models, preset, size = given.pop("teachers", ()), given.pop("policy", None), given.pop("size", None)
    if preset is not None or size is not None:
        given["policy"] = _policy(settings.get("policy"), preset, size)
    if models or own:
        given["teachers"] = _teachers(settings.get("teachers"), models, own)
    return settings | given | ({"shards": list(shards)} if shards else {})


def _policy(in_file: Any, preset: str | None, size: int | None) -> dict[str, Any]:
    """A preset replaces the file's policy, a size alone changes only that."""
    keeps_file = preset is None and isinstance(in_file, dict)
    base = in_file if keeps_file else {"preset": preset or in_file or "rrc"}
    return base if size is None else {**base, "size": size}


def _teachers(in_file: Any, models: Sequence[str], own: dict[str, Any]) -> list[dict[str, Any]]:
    """Teachers by flag replace the file's; what else the flags say of teachers goes for all of them."""
    if models:
        teachers = [_teacher(text) for text in models]
    else:
        listed = in_file if isinstance(in_file, list) else [in_file] if in_file else []
        teachers = [{"model": entry} if isinstance(entry, str) else dict(entry) for entry in listed]
    checkpoints = own.pop("checkpoint", None) or ["-"] * len(teachers)
    if len(checkpoints) != len(teachers):
        raise click.UsageError(
            f"{len(checkpoints)} --teacher-checkpoint for {len(teachers)} teachers; give one for each, in the "
            "same order, '-' for a teacher without one"
        )
    kwargs = dict(own.pop("kwargs", ()))
    for teacher, checkpoint in zip(teachers, checkpoints, strict=True):
        teacher |= own | ({} if checkpoint == "-" else {"checkpoint": checkpoint})  # noqa: PLW2901 - in place
        if kwargs:
            teacher["kwargs"] = {**teacher.get("kwargs", {}), **kwargs}
    return teachers


def _teacher(text: str) -> dict[str, Any]:
    name, equals, model = text.partition("=")
    return {"name": name, "model": model} if equals else {"model": text}

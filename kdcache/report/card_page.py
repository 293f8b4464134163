"""The page of a card: what the manifest and the commit records say of a cache, in Markdown.

Names and texts of a manifest were written by others. They are shown as code, so that none of them is markup.
"""

import json
from collections.abc import Iterable, Iterator

from kdcache.report.cache_report import Progress, TeacherFacts
from kdcache.report.card_facts import CardFacts
from kdcache.report.card_header import card_header
from kdcache.report.card_usage import card_usage
from kdcache.report.markdown import code, fenced, table
from kdcache.store.manifest import Preprocessing

__all__ = ["card_page"]

_TEACHERS = ("teacher", "model", "weights", "targets", "kept mass", "input", "normalisation", "bytes/view")
_FIGURES = ("teacher", "top-1", "top-5", "views", "saturated", "units")


def card_page(facts: CardFacts) -> str:
    """Return README.md."""
    parts = [
        card_header(facts),
        f"# {facts.title(code)}\n",
        _summary(facts),
        "## Facts\n\n" + table(("", ""), _facts(facts)),
        *_teachers(facts),
        *_features(facts),
        _views(facts),
        card_usage(facts),
        "This page says what the manifest and the commit records of the cache say; `kdcache card` made it.\n",
    ]
    return "\n".join(parts)


def _summary(facts: CardFacts) -> str:
    report = facts.report
    teachers = "1 teacher" if len(report.teachers) == 1 else f"{len(report.teachers):,} teachers"
    return (
        f"The outputs of {teachers} on {report.num_aug_seeds:,} views of each of {report.samples:,} samples "
        f"({report.num_classes:,} classes), cached by kdcache. A view is drawn again, pixel for pixel, from its "
        "sample and a seed, so a student is trained on what the teacher saw, without running the teacher. The cache "
        "has no images, only keys, labels and digests of samples, and thumbnails of 8 x 8 pixels of the first eight "
        "samples of each block: training takes the shards that it was made of.\n"
    )


def _facts(facts: CardFacts) -> Iterator[tuple[str, str]]:
    report = facts.report
    yield "content id", code(report.content_id)
    yield "licence", _text(facts.about("licence"), "not stated")
    yield "contact", _text(facts.about("contact"), "not stated")
    yield "created", _text(facts.about("created"), "not stated")
    yield from _origin(facts)
    software = report.about.get("software", {})
    yield (
        "software",
        ", ".join(code(f"{name} {version}") for name, version in software.items()) or "not stated",
    )
    yield "format", f"{report.format_version} (a Zarr 3 group)"
    parent = " (a part of its parent)" if report.about.get("parent") else ""
    yield "state", "complete" if report.complete else f"not all units are committed{parent}"
    yield "samples", f"{report.samples:,} in {report.shards:,} shards, {report.num_classes:,} classes"
    yield "not decodable", _failures(report.bad_samples)
    yield "rows of a block", f"{report.rows_per_block:,}"
    yield "views of a sample", f"{report.num_aug_seeds:,} seeds, in groups of {report.seeds_per_group:,}"
    yield "views", f"{report.views:,} in {_progress(report.view_units)} units"
    each = f", {report.bytes_per_view:.1f} a view and teacher" if report.bytes_per_view else ""
    yield "bytes", f"{report.bytes:,}{each}"


def _origin(facts: CardFacts) -> Iterator[tuple[str, str]]:
    parent = facts.report.about.get("parent")
    if parent:
        part = ", ".join(f"{name} {value}" for name, value in parent.get("selection", {}).items())
        yield "parent", code(str(parent.get("content_id"))) + (f", of it {code(part)}" if part else "")
    merged_from = facts.report.about.get("merged_from")
    if isinstance(merged_from, list) and merged_from:
        yield "merged from", ", ".join(code(str(one)) for one in merged_from)


def _teachers(facts: CardFacts) -> Iterator[str]:
    if not facts.report.teachers:
        return
    rows = (_teacher(facts, name, teacher) for name, teacher in facts.report.teachers.items())
    figures = (_figures(facts, name, teacher) for name, teacher in facts.report.teachers.items())
    yield f"## Teachers\n\n{table(_TEACHERS, rows)}\n{table(_FIGURES, figures)}"


def _teacher(facts: CardFacts, name: str, teacher: TeacherFacts) -> tuple[str, ...]:
    entry = facts.identity.teachers[name]
    source = f" from {code(teacher.source)}" if teacher.source else ""
    mass = ", ".join(f"{value:.1%} at T={t}" for t, value in teacher.kept_mass.items())
    size, normalisation = _inputs(entry.preprocessing)
    return (
        code(name),
        f"{code(teacher.architecture)}{source}, {teacher.precision}",
        code(teacher.weights_sha256),
        f"{teacher.encoding}, K = {teacher.top_k:,} of {teacher.num_classes:,}",
        mass or "not measured",
        size,
        normalisation,
        "none yet" if teacher.bytes_per_view is None else f"{teacher.bytes_per_view:.1f}",
    )


def _inputs(inputs: Preprocessing | None) -> tuple[str, str]:
    if inputs is None:
        return "its members'", "its members'"
    size = f"{inputs.height} x {inputs.width}, {code(inputs.interpolation)}"
    return size, f"mean {_numbers(inputs.mean)}, std {_numbers(inputs.std)}"


def _figures(facts: CardFacts, name: str, teacher: TeacherFacts) -> tuple[str, ...]:
    top5 = facts.top_five.get(name)
    return (
        code(name),
        "no labels" if teacher.top1 is None else f"{teacher.top1:.2%} of {teacher.labelled:,}",
        "not known" if top5 is None else f"{top5.share:.2%} of {top5.views:,}",
        f"{teacher.views:,}",
        f"{teacher.saturated:,}",
        _progress(teacher.units),
    )


def _features(facts: CardFacts) -> Iterator[str]:
    if facts.report.features:
        rows = (
            (code(name), code(one.layer), f"{one.num_features:,}", f"{one.views:,}", _progress(one.units))
            for name, one in facts.report.features.items()
        )
        yield "## Features\n\n" + table(("teacher", "layer", "numbers a view", "views", "units"), rows)


def _views(facts: CardFacts) -> str:
    policy = facts.identity.policy
    text = json.dumps(policy.model_dump(mode="json", exclude_none=True), indent=2)
    digest = code(facts.identity.policy_digest)
    return (
        f"## Views\n\nThe policy under which every view is drawn, digest {digest}:\n\n{fenced(text, 'json')}"
    )


def _text(value: str | None, otherwise: str) -> str:
    return code(value) if value else otherwise


def _failures(bad: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {code(reason)}" for reason, count in sorted(bad.items())) or "none"


def _progress(progress: Progress) -> str:
    return f"{progress.committed:,} of {progress.total:,}"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)

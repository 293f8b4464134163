"""The facts of a cache as text for a terminal."""

from collections.abc import Iterable

from kdcache.report.cache_report import CacheReport, FeatureFacts, Progress, TeacherFacts

__all__ = ["to_text"]

Row = tuple[str, str]

_NAME_WIDTH = 14


def to_text(report: CacheReport) -> str:
    """Return a few aligned paragraphs: the cache, its data, its views, each teacher, its size."""
    sections: list[tuple[str, Iterable[Row]]] = [
        (f"Cache {report.url}", _cache_rows(report)),
        ("Data", _data_rows(report)),
        ("Views", _view_rows(report)),
        *((f"Teacher {name}", _teacher_rows(facts)) for name, facts in report.teachers.items()),
        *((f"Features of {name}", _feature_rows(facts)) for name, facts in report.features.items()),
        ("Size", _size_rows(report)),
    ]
    return "\n\n".join(_section(title, rows) for title, rows in sections)


def _section(title: str, rows: Iterable[Row]) -> str:
    lines = (f"  {name:<{_NAME_WIDTH}}{_printable(value)}" for name, value in rows)
    return "\n".join([_printable(title), *lines])


def _printable(text: str) -> str:
    """A manifest is written by others: its texts must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cache_rows(report: CacheReport) -> Iterable[Row]:
    yield "content id", report.content_id
    yield "format", str(report.format_version)
    about = report.about
    parent = about.get("parent")
    left = "a part of its parent" if parent else "incomplete: run the same precompute command again"
    yield "state", "complete" if report.complete else left
    if about.get("created"):
        yield "created", str(about["created"])
    for name in ("licence", "contact"):
        if about.get(name):
            yield name, str(about[name])
    if parent:
        part = ", ".join(f"{name} {value}" for name, value in parent.get("selection", {}).items())
        yield "parent", str(parent.get("content_id")) + (f": {part}" if part else "")
    if about.get("merged_from"):
        yield "merged from", ", ".join(map(str, about["merged_from"]))
    if about.get("software"):
        yield "software", ", ".join(f"{name} {version}" for name, version in about["software"].items())


def _data_rows(report: CacheReport) -> Iterable[Row]:
    yield "shards", f"{report.shards:,}"
    yield "samples", f"{report.samples:,} in {report.num_classes:,} classes"
    bad = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.bad_samples.items()))
    yield "bad samples", bad or "none"
    yield (
        "committed",
        _progress(report.sample_units, "blocks") + f" of up to {report.rows_per_block:,} samples",
    )


def _view_rows(report: CacheReport) -> Iterable[Row]:
    height, width = report.view_size
    yield "policy", f"{report.policy}, {height} x {width} pixels, digest {report.policy_digest[:16]}"
    yield "per sample", f"{report.num_aug_seeds:,}, in groups of {report.seeds_per_group:,}"
    yield "committed", f"{report.views:,} views in {_progress(report.view_units, 'units')}"


def _teacher_rows(facts: TeacherFacts) -> Iterable[Row]:
    size = "" if facts.input_size is None else "{} x {} pixels, ".format(*facts.input_size)
    yield "architecture", f"{facts.architecture}, {size}{facts.precision}"
    if facts.source:
        yield "source", facts.source
    yield "weights", f"sha256 {facts.weights_sha256[:16]}"
    yield "targets", f"{facts.encoding}, {facts.top_k:,} of {facts.num_classes:,} classes"
    mass = ", ".join(f"{value:.1%} at T={temperature}" for temperature, value in facts.kept_mass.items())
    yield "kept mass", mass or "not measured"
    yield "top-1", _accuracy(facts)
    if facts.saturated:
        yield "saturated", f"{facts.saturated:,} of {facts.views:,} views have a gap above 254/16 nat"
    yield "committed", f"{facts.views:,} views in {_progress(facts.units, 'units')}"
    yield "bytes/view", _bytes_per_view(facts.bytes_per_view)


def _feature_rows(facts: FeatureFacts) -> Iterable[Row]:
    yield "numbers", f"{facts.num_features:,} a view, in float16 ({facts.layer})"
    yield "units", facts.unit
    yield "committed", f"{facts.views:,} views in {_progress(facts.units, 'units')}"
    yield "bytes/view", _bytes_per_view(facts.bytes_per_view)


def _size_rows(report: CacheReport) -> Iterable[Row]:
    yield "total", f"{report.bytes:,} bytes"
    yield "bytes/view", _bytes_per_view(report.bytes_per_view) + ", samples, digests and thumbnails included"


def _accuracy(facts: TeacherFacts) -> str:
    if facts.top1 is None:
        return "unknown (no labels)"
    return f"{facts.top1:.2%} of {facts.labelled:,} labelled views"


def _bytes_per_view(value: float | None) -> str:
    return "none yet" if value is None else f"{value:.1f}"


def _progress(progress: Progress, what: str) -> str:
    return f"{progress.committed:,} of {progress.total:,} {what}"

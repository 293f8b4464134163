"""What a dry run found, as facts and as text."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from kdcache.precompute.forecast import Rates, Seconds

__all__ = ["Bytes", "DryRun", "Pilot", "TeacherForecast", "Time"]

_NAME_WIDTH = 14


@dataclass(frozen=True, slots=True)
class Pilot:
    """What was looked at: views of some samples, spread over the data."""

    samples: int
    views: int
    bad_views: int

    @property
    def share_ok(self) -> float:
        """The share of views whose sample can be decoded."""
        return 1.0 - self.bad_views / self.views


@dataclass(frozen=True, slots=True)
class TeacherForecast:
    """One teacher of the run, or the features of one.

    Attributes:
        top_k: kept classes; of features their number.
        views: that this run caches of it, bad samples included.
        bytes: that they take.
        views_per_second: alone on one device; None for an ensemble, whose members do the work, for features,
            which their teacher makes, and where nothing is left to do.
    """

    encoding: str
    top_k: int
    num_classes: int
    units_pending: int
    units_done: int
    views: int
    bytes: int
    views_per_second: float | None


@dataclass(frozen=True, slots=True)
class Bytes:
    """The data objects that the run adds, those that are there, and every other file of the complete cache.

    Attributes:
        metadata: zarr.json files, commit records and their index.
    """

    samples: int
    views: int
    targets: int
    committed: int
    metadata: int

    @property
    def added(self) -> int:
        """Data objects of this run."""
        return self.samples + self.views + self.targets

    @property
    def cache(self) -> int:
        """Data objects when it has come to its end."""
        return self.committed + self.added


@dataclass(frozen=True, slots=True)
class Time:
    """Where the time goes, and when it pays.

    Attributes:
        device: what the teachers compute on.
        rates: the probe.
        pending: what is left to do.
        whole: had nothing been done yet.
        live_epoch: seconds in which the teachers see one view of each sample: what live teachers add to
            every epoch of every student.
    """

    device: str
    rates: Rates
    pending: Seconds
    whole: Seconds
    live_epoch: float

    @property
    def break_even_epochs(self) -> float:
        """Student epochs after which the cache has cost less than live teachers."""
        return self.whole.run / self.live_epoch


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do, and what it would take; nothing was written.

    Attributes:
        units_pending: teacher units that are left to do,
        units_done: and those that are committed, in the shards that were given.
        samples: in them.
        blocks: of up to ``rows_per_block`` samples.
        samples_pending: those of which anything is left to do.
        views_pending: that have to be rendered, of ``aug_seeds`` of each sample.
        pilot: what sizes are predicted from; None where nothing is left to do.
        time: likewise, and where the pilot met no good sample.
    """

    cache: str
    units_pending: int
    units_done: int
    shards: int
    samples: int
    blocks: int
    rows_per_block: int
    samples_pending: int
    views_pending: int
    aug_seeds: int
    seeds_per_group: int
    teachers: dict[str, TeacherForecast]
    bytes: Bytes
    pilot: Pilot | None
    time: Time | None

    def to_json(self) -> dict[str, Any]:
        """Return all facts as values that JSON has."""
        facts = asdict(self)
        facts["bytes"] |= {"added": self.bytes.added, "cache": self.bytes.cache}
        if self.time is not None:
            facts["time"]["break_even_epochs"] = self.time.break_even_epochs
        return facts

    def summary(self) -> str:
        """Say it in a few aligned paragraphs, and when it pays in one sentence."""
        parts = [
            _section(f"{self.cache}, a dry run: nothing was written", self._work_rows()),
            *(_section(_title(name, facts), _teacher_rows(facts)) for name, facts in self.teachers.items()),
            _section("Size", self._size_rows()),
        ]
        if self.time is not None:
            parts += [_section("Time", _time_rows(self.time)), _pays(self.time)]
        if not self.units_pending:
            parts.append("nothing is left to do")
        return "\n\n".join(parts)

    def _work_rows(self) -> Iterable[tuple[str, str]]:
        yield "units", f"{self.units_pending:,} to do, {self.units_done:,} done"
        yield "samples", f"{self.samples:,} in {_count(self.shards, 'shard')}, {self.samples_pending:,} to do"
        yield "blocks", f"{self.blocks:,} of up to {self.rows_per_block:,} samples"
        per_sample = f"{self.aug_seeds:,} of each sample, in groups of {self.seeds_per_group:,}"
        yield "views", f"{self.views_pending:,} to render ({per_sample})"
        if self.pilot is not None:
            bad = f", {self.pilot.bad_views:,} of bad samples" if self.pilot.bad_views else ""
            yield (
                "pilot",
                f"{_count(self.pilot.views, 'view')} of {_count(self.pilot.samples, 'sample')}{bad}",
            )

    def _size_rows(self) -> Iterable[tuple[str, str]]:
        yield "targets", _bytes(self.bytes.targets)
        yield "views", f"{_bytes(self.bytes.views)} (digests and thumbnails)"
        yield "samples", _bytes(self.bytes.samples)
        yield "this run adds", _bytes(self.bytes.added)
        yield "the cache then", f"{_bytes(self.bytes.cache)}, and {_bytes(self.bytes.metadata)} of metadata"


def _title(name: str, facts: TeacherForecast) -> str:
    return f"{'Features' if facts.encoding == 'features16' else 'Teacher'} {name}"


def _teacher_rows(facts: TeacherForecast) -> Iterable[tuple[str, str]]:
    if facts.encoding == "features16":
        yield "numbers", f"{facts.top_k:,} a view, in float16"
    else:
        yield "targets", f"{facts.encoding}, {facts.top_k:,} of {facts.num_classes:,} classes"
    yield "units", f"{facts.units_pending:,} to do, {facts.units_done:,} done"
    if facts.views:
        yield "size", f"{_bytes(facts.bytes)}, {facts.bytes / facts.views:,.1f} bytes a view"
    if facts.views_per_second is not None:
        yield "speed", f"{_three_digits(facts.views_per_second)} views/s"


def _time_rows(time: Time) -> Iterable[tuple[str, str]]:
    rates = time.rates
    yield "probe", f"a few batches on {time.device}: the run itself may be faster or slower"
    yield "teachers", _duration(time.pending.teachers)
    readers = _count(rates.readers * rates.workers, "reader")
    yield (
        "rendering",
        f"{_duration(time.pending.rendering)} ({readers}, {_three_digits(rates.render)} views/s each)",
    )
    how = "the longer one of the two" if rates.overlaps else "both, as they share the cores"
    yield "this run", f"{_duration(time.pending.run)} ({how})"


def _pays(time: Time) -> str:
    # Rounded first: where the teachers decide, it is the number of views but for the last bit.
    epochs = _count(math.ceil(round(time.break_even_epochs, 3)), "student epoch")
    return (
        f"pays off after {epochs} (one teacher pass over the data takes {_duration(time.live_epoch)}; the cache "
        f"takes {_duration(time.whole.run)} and serves every later student for free)"
    )


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join([title, *(f"  {name:<{_NAME_WIDTH}}  {value}" for name, value in rows)])


def _count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> _count(1, "shard"), _count(2000, "shard")
    ('1 shard', '2,000 shards')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _bytes(number: float) -> str:
    """Return a size as people read it.

    >>> _bytes(999), _bytes(12_345), _bytes(999_999), _bytes(5e12)
    ('999 bytes', '12.3 kB', '1,000 kB', '5.00 TB')
    """
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{_three_digits(number / size)} {unit}"
    return f"{number:,.0f} bytes"


def _three_digits(value: float) -> str:
    """Return a number to three digits, but no fewer than it has before the point.

    >>> _three_digits(0.5), _three_digits(12.345), _three_digits(12345.6)
    ('0.50', '12.3', '12,346')
    """
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _duration(seconds: float) -> str:
    """Return a duration as people read it.

    >>> _duration(0.0123), _duration(186), _duration(9000), _duration(1e6)
    ('0.012 s', '3.1 min', '2.5 h', '11.6 days')
    """
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.2g} s"

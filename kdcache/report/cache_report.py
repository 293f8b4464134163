"""The facts of a cache, summed up from its manifest and commit records; no data object is read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from kdcache.store.commits import CommitRecord, content_id
from kdcache.store.layout import SAMPLES, VIEWS
from kdcache.store.manifest import TeacherIdentity
from kdcache.store.reader import Cache

__all__ = ["CacheReport", "FeatureFacts", "Progress", "TeacherFacts"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How many units of a kind are committed."""

    committed: int
    total: int


@dataclass(frozen=True, slots=True)
class TeacherFacts:
    """What is known about one teacher's targets.

    Attributes:
        kept_mass: the pilot's mean kept mass by temperature, where one was run.
        top1: share of labelled views whose label the teacher puts first; None without labels.
        bytes_per_view: of the targets alone.
    """

    architecture: str
    source: str | None
    weights_sha256: str
    input_size: tuple[int, int] | None
    precision: str
    encoding: str
    top_k: int
    num_classes: int
    kept_mass: dict[str, float]
    views: int
    labelled: int
    top1: float | None
    saturated: int
    bytes: int
    bytes_per_view: float | None
    seconds: float
    units: Progress


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """What is known about one teacher's stored features.

    Attributes:
        unit: the kind of their units.
        layer: which of the teacher's outputs they are.
        num_features: D.
    """

    unit: str
    layer: str
    num_features: int
    views: int
    bytes: int
    bytes_per_view: float | None
    units: Progress


@dataclass(frozen=True, slots=True)
class CacheReport:
    """Everything that ``kdcache info`` says.

    Attributes:
        features: by teacher.
        bytes_per_view: of all objects, over the views of all teachers.
    """

    url: str
    content_id: str
    format_version: int
    complete: bool
    shards: int
    samples: int
    committed_samples: int
    bad_samples: dict[str, int]
    num_classes: int
    policy: str
    policy_digest: str
    view_size: tuple[int, int]
    num_aug_seeds: int
    rows_per_block: int
    seeds_per_group: int
    sample_units: Progress
    view_units: Progress
    teachers: dict[str, TeacherFacts]
    features: dict[str, FeatureFacts]
    views: int
    bytes: int
    bytes_per_view: float | None
    about: dict[str, Any]

    @classmethod
    def of(cls, cache: Cache, records: Sequence[CommitRecord] | None = None) -> Self:
        """Sum up a cache; its records are read, if they were not yet.

        Raises:
            CorruptChunkError: a commit record is damaged.
        """
        records = list(cache.records()) if records is None else records
        by_kind = _by_kind(records)
        blocks, units = len(cache.blocks), len(cache.blocks) * cache.layout.num_groups
        identity, about = cache.identity, cache.manifest.about
        teachers = {
            name: _teacher_facts(entry, by_kind[name], about.teachers.get(name, {}), units)
            for name, entry in identity.teachers.items()
            if entry.features_of is None
        }
        size = sum(record.num_bytes for record in records)
        views = sum(facts.views for facts in teachers.values())
        return cls(
            url=cache.url,
            content_id=content_id(identity, (entry for record in records for entry in record.objects)),
            format_version=identity.format_version,
            complete=len(records) == blocks + units * (1 + len(identity.teachers)),
            shards=len(identity.shards),
            samples=sum(entry.num_samples for entry in identity.shards),
            committed_samples=sum(r.rows + sum(r.failures.values()) for r in by_kind[SAMPLES]),
            bad_samples=_failures(by_kind[SAMPLES]),
            num_classes=identity.num_classes,
            policy=identity.policy.preset,
            policy_digest=identity.policy_digest,
            view_size=(identity.policy.height, identity.policy.width),
            num_aug_seeds=identity.num_aug_seeds,
            rows_per_block=identity.rows_per_block,
            seeds_per_group=identity.seeds_per_group,
            sample_units=Progress(len(by_kind[SAMPLES]), blocks),
            view_units=Progress(len(by_kind[VIEWS]), units),
            teachers=teachers,
            features={
                teacher: _feature_facts(unit, identity.teachers[unit], by_kind[unit], units)
                for teacher, unit in cache.feature_units.items()
            },
            views=sum(record.rows for record in by_kind[VIEWS]),
            bytes=size,
            bytes_per_view=size / views if views else None,
            about=about.model_dump(mode="json", exclude={"teachers"}),
        )

    def to_json(self) -> dict[str, Any]:
        """Return all facts as values that JSON has."""
        return asdict(self)


def _by_kind(records: Iterable[CommitRecord]) -> defaultdict[str, list[CommitRecord]]:
    by_kind: defaultdict[str, list[CommitRecord]] = defaultdict(list)
    for record in records:
        by_kind[record.unit.rpartition("/")[0]].append(record)
    return by_kind


def _failures(records: Iterable[CommitRecord]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(record.failures)
    return dict(counts)


def _teacher_facts(
    entry: TeacherIdentity, records: list[CommitRecord], about: Mapping[str, Any], total: int
) -> TeacherFacts:
    views, labelled = sum(r.rows for r in records), sum(r.labelled for r in records)
    size = sum(record.num_bytes for record in records)
    return TeacherFacts(
        architecture=entry.architecture,
        source=str(about["source"]) if about.get("source") else None,
        weights_sha256=entry.weights_sha256,
        input_size=(entry.preprocessing.height, entry.preprocessing.width) if entry.preprocessing else None,
        precision=entry.precision,
        encoding=entry.encoding,
        top_k=entry.top_k,
        num_classes=entry.num_classes,
        kept_mass=_kept_mass(entry, about),
        views=views,
        labelled=labelled,
        top1=sum(r.correct for r in records) / labelled if labelled else None,
        saturated=sum(record.saturated for record in records),
        bytes=size,
        bytes_per_view=size / views if views else None,
        seconds=round(sum(record.seconds for record in records), 3),
        units=Progress(len(records), total),
    )


def _feature_facts(
    unit: str, entry: TeacherIdentity, records: list[CommitRecord], total: int
) -> FeatureFacts:
    assert entry.features_of is not None
    views, size = sum(r.rows for r in records), sum(record.num_bytes for record in records)
    return FeatureFacts(
        unit=unit,
        layer=entry.features_of.layer,
        num_features=entry.top_k,
        views=views,
        bytes=size,
        bytes_per_view=size / views if views else None,
        units=Progress(len(records), total),
    )


def _kept_mass(entry: TeacherIdentity, about: Mapping[str, Any]) -> dict[str, float]:
    """Return the pilot's kept mass at this K by temperature; what was written by others is not trusted."""
    if entry.encoding in {"dense8", "float32"}:
        return dict.fromkeys(("1", "2", "4"), 1.0)
    by_k = about.get("kept_mass")
    at_k = by_k.get(str(entry.top_k)) if isinstance(by_k, dict) else None
    if not isinstance(at_k, dict):
        return {}
    found = ((_number(t), _number(value)) for t, value in at_k.items() if not isinstance(value, str))
    return {f"{t:g}": mass for t, mass in found if t is not None and mass is not None}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return None

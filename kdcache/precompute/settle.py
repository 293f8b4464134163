"""Before the run: look at each new teacher, and settle how its targets are kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from kdcache.config.precompute import CombineConfig, PrecomputeConfig, TeacherConfig
from kdcache.config.views import ViewPolicy
from kdcache.data.index import ShardIndex
from kdcache.precompute.batches import probe_logits
from kdcache.precompute.check import TeacherCheck, center_policy, demand_logits
from kdcache.precompute.encodings import CANDIDATES, choose_encoding, choose_top_k
from kdcache.precompute.pilot import kept_mass
from kdcache.precompute.plan import Item, probe_items, probe_windows
from kdcache.precompute.reader import ItemReader, RenderedItem, rendered_items
from kdcache.store.manifest import Encoding, Identity, TeacherIdentity
from kdcache.teachers.embedding import Embedding
from kdcache.teachers.protocol import Teacher

__all__ = ["Settled", "settle"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settled:
    """How a teacher's targets are kept, and the facts that were found on the way; of an embedding K is D."""

    encoding: Encoding
    top_k: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Probe:
    """Where probes read."""

    config: PrecomputeConfig
    indexes: Sequence[ShardIndex]
    batch_size: int
    readers: int
    num_classes: int
    say: Say

    def items(self, counts: Sequence[int]) -> tuple[Item, ...]:
        return probe_items(counts, self.config.check_samples, batch_size=self.batch_size)

    def rendered(self, items: Sequence[Item], policy: ViewPolicy) -> Iterable[RenderedItem]:
        reader = ItemReader(self.indexes, policy, num_classes=self.num_classes, alone=True)
        return rendered_items(reader, items, processes=min(self.readers, len(items)))


def settle(
    config: PrecomputeConfig,
    teachers: Sequence[Teacher],
    indexes: Sequence[ShardIndex],
    *,
    existing: Identity | None,
    batch_size: int,
    readers: int,
    say: Say,
) -> dict[str, Settled]:
    """Return how each teacher's targets are kept: as the cache has it, else by settings and pilot.

    Raises:
        ConfigError: K or the encoding does not go with the classes.
        TeacherError: a new teacher is no better than chance, or returns no logits.
        ShardError: a label is no class of the teacher.
    """
    probe = _Probe(config, indexes, batch_size, readers, teachers[0].num_classes, say)
    settled = {
        teacher.name: Settled("features16", teacher.num_features)
        for teacher in teachers
        if isinstance(teacher, Embedding)
    }
    wanted: list[TeacherConfig | CombineConfig] = [*config.teachers, *config.combine]
    with_logits = [teacher for teacher in teachers if not isinstance(teacher, Embedding)]
    for settings, teacher in zip(wanted, with_logits, strict=True):
        where = f"teacher {teacher.name!r}"
        encoding, top_k = choose_encoding(
            teacher.num_classes, top_k=settings.top_k, encoding=settings.encoding, where=where
        )
        known = existing.teachers.get(teacher.name) if existing else None
        if known is not None:
            settled[teacher.name] = _as_stored(known, settings, teacher.num_classes, encoding, top_k)
            continue
        facts = _check(teacher, probe) if config.teacher_check else {}
        settled[teacher.name] = _pilot(teacher, settings, probe, encoding, facts)
    return settled


def _as_stored(
    known: TeacherIdentity,
    settings: TeacherConfig | CombineConfig,
    num_classes: int,
    encoding: Encoding,
    top_k: int | Literal["auto"],
) -> Settled:
    """Take from the cache what the settings leave open; what they ask for is for the manifest to compare."""
    is_left_open = settings.top_k == "auto" and settings.encoding in {None, known.encoding}
    if is_left_open and known.num_classes == num_classes:
        return Settled(known.encoding, known.top_k)
    return Settled(encoding, min(CANDIDATES[-1], num_classes - 1) if top_k == "auto" else top_k)


def _check(teacher: Teacher, probe: _Probe) -> dict[str, Any]:
    """Run the teacher on centre views, of labelled shards where there are any."""
    has_labels = any(index.num_labelled for index in probe.indexes)
    counts = [len(index) if index.num_labelled or not has_labels else 0 for index in probe.indexes]
    rendered = probe.rendered(probe.items(counts), center_policy(probe.config.policy))
    batches = list(probe_logits(teacher, rendered, batch_size=probe.batch_size))
    logits_NC = torch.cat([logits_BC for logits_BC, _ in batches])
    labels_N = torch.cat([labels_B for _, labels_B in batches])
    demand_logits(logits_NC, teacher=teacher.name)
    is_labelled_N = labels_N >= 0
    correct = int((logits_NC.argmax(dim=1) == labels_N)[is_labelled_N].sum())
    check = TeacherCheck(teacher.name, correct, int(is_labelled_N.sum()), teacher.num_classes)
    check.demand_better_than_chance()
    probe.say(check.summary())
    return {"check": {"top1": round(check.top1, 6), "labelled": check.labelled}} if check.labelled else {}


def _pilot(
    teacher: Teacher,
    settings: TeacherConfig | CombineConfig,
    probe: _Probe,
    encoding: Encoding,
    facts: dict[str, Any],
) -> Settled:
    """Measure the kept mass under the run's own policy wherever classes are cut off."""
    wanted = settings.top_k
    if encoding != "gap8":
        return Settled(encoding, 1 if encoding == "hard" else teacher.num_classes, facts)
    below = [k for k in CANDIDATES if k < teacher.num_classes] or [teacher.num_classes - 1]
    ks = sorted({*below, *([] if wanted == "auto" else [wanted])})
    counts = [len(index) for index in probe.indexes]
    mixes = probe.config.policy.mixing is not None
    items = probe_windows(counts, probe.config.check_samples) if mixes else probe.items(counts)
    rendered = probe.rendered(items, probe.config.policy)
    batches = probe_logits(teacher, rendered, batch_size=probe.batch_size)
    masses = kept_mass((logits_BC for logits_BC, _ in batches), ks)
    at_one = {k: masses[k]["1"] for k in below}
    top_k = choose_top_k(at_one, teacher.num_classes) if wanted == "auto" else wanted
    probe.say(
        f"teacher {teacher.name}: {top_k} classes kept hold {masses[top_k]['1']:.1%} of the mass at T = 1"
    )
    by_k = {str(k): mass for k, mass in masses.items()}
    num_samples = sum(len(item.samples) for item in items)
    return Settled(encoding, top_k, {**facts, "kept_mass": by_k, "pilot_samples": num_samples})

"""Before a long run: what there is to do, and what it would take. Nothing is written."""

from kdcache.config.precompute import PrecomputeConfig
from kdcache.precompute.dry_run_report import Bytes, DryRun, Pilot, TeacherForecast, Time
from kdcache.precompute.look import Look
from kdcache.precompute.pilot_rows import pilot_rows
from kdcache.precompute.prepare import Prepared, Settings, build_teachers, wanted_manifest
from kdcache.precompute.probe import probe
from kdcache.precompute.reader import lost_readers_explained
from kdcache.precompute.unit_bytes import added_bytes, committed_bytes, metadata_bytes
from kdcache.precompute.worker import computing_threads
from kdcache.runtime.device import device_name
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import make_progress
from kdcache.store.create import agreed_manifest
from kdcache.store.layout import SAMPLES, VIEWS
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.writer import CacheWriter

__all__ = ["dry_run"]


def dry_run(config: PrecomputeConfig, *, grow: bool = False, quiet: bool = False) -> DryRun:
    """Say what ``precompute`` would do with these settings: units, bytes, seconds, and when it pays off.

    Settings, shards, teachers and the cache are checked as a run checks them. Bytes are those of real chunks,
    packed from a pilot of ``config.check_samples`` samples; seconds come from a short probe.

    Args:
        config: what to do.
        grow: as of ``precompute``.
        quiet: print no notices.

    Raises:
        KdcacheError: what ``precompute`` would raise before its first unit.
        TeacherError: also for NaN or +inf in a view of the pilot.
        InterruptedRunError: a signal came.
    """
    say = make_progress("", total=0, unit="", quiet=quiet).say

    def nothing() -> str:
        return "nothing was written"

    with Interrupts() as signals, signals.anywhere(nothing), lost_readers_explained(signals, nothing):
        settings = Settings.of(config, grow=grow)
        with computing_threads(settings.tuning.teacher_threads):
            teachers = build_teachers(settings, say)
            wanted = wanted_manifest(settings, teachers, say)
            objects = open_objects(config.cache)
            writer = CacheWriter(objects, agreed_manifest(objects, wanted, grow=grow))
            return _found(Look.at(Prepared(settings, teachers, writer)), objects)


def _found(look: Look, objects: ObjectStore) -> DryRun:
    rows = pilot_rows(look) if look.pending else None
    added = added_bytes(look, rows) if rows is not None else {}
    pilot = None if rows is None else Pilot(rows.num_samples, len(rows), int((~rows.ok_N).sum()))
    time = _time(look, pilot.share_ok) if pilot is not None and pilot.share_ok else None
    teachers = {name: _teacher(look, name, added, time) for name in look.names}
    return DryRun(
        cache=look.prepared.settings.config.cache,
        units_pending=sum(facts.units_pending for facts in teachers.values()),
        units_done=sum(facts.units_done for facts in teachers.values()),
        shards=len(look.prepared.settings.data.given),
        samples=sum(block.num_rows for block in look.blocks),
        blocks=len(look.blocks),
        rows_per_block=look.identity.rows_per_block,
        samples_pending=sum(block.num_rows for block in {task.block for task in look.pending}),
        views_pending=look.num_views(look.pending),
        aug_seeds=look.identity.num_aug_seeds,
        seeds_per_group=look.identity.seeds_per_group,
        teachers=teachers,
        bytes=Bytes(
            samples=added.get(SAMPLES, 0),
            views=added.get(VIEWS, 0),
            targets=sum(facts.bytes for facts in teachers.values()),
            committed=committed_bytes(look, objects),
            metadata=metadata_bytes(look.prepared.writer.manifest, look.layout, look.units_then()),
        ),
        pilot=pilot,
        time=time,
    )


def _teacher(look: Look, name: str, added: dict[str, int], time: Time | None) -> TeacherForecast:
    entry, tasks = look.identity.teachers[name], look.tasks_of(name)
    return TeacherForecast(
        encoding=entry.encoding,
        top_k=entry.top_k,
        num_classes=entry.num_classes,
        units_pending=len(tasks),
        units_done=len(look.blocks) * look.layout.num_groups - len(tasks),
        views=look.num_views(tasks),
        bytes=added.get(name, 0),
        views_per_second=None if time is None else time.rates.networks.get(name),
    )


def _time(look: Look, share_ok: float) -> Time:
    """Probe readers and networks, and put the run together from them; bad samples take no time."""
    everything = look.everything
    whole, pending = look.asked(everything), look.asked(look.pending)
    rates = probe(look, whole)

    def good(counts: dict[str, int]) -> dict[str, float]:
        return {name: share_ok * count for name, count in counts.items()}

    return Time(
        device=device_name(look.prepared.settings.device),
        rates=rates,
        pending=rates.seconds(good(pending), rendered=share_ok * look.num_views(look.pending)),
        whole=rates.seconds(good(whole), rendered=share_ok * look.num_views(everything)),
        live_epoch=rates.teaching(good(whole)) / look.identity.num_aug_seeds,
    )

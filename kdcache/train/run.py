"""``train``: the second stage from its settings to its report."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from kdcache.config.train import TrainConfig
from kdcache.data.index import expand_shards
from kdcache.digest import json_sha256
from kdcache.runtime.device import available_cores, device_name, resolve_device
from kdcache.runtime.dist import World, process_group
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.loader_processes import lost_processes_explained
from kdcache.runtime.progress import make_progress
from kdcache.store.reader import Cache, open_cache
from kdcache.train.appraisal import Appraisal
from kdcache.train.assembly import assemble
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.folder import EMA_WEIGHTS, binding_of, claim_folder, save_weights
from kdcache.train.journal import replace_file
from kdcache.train.loop import run_to_the_end
from kdcache.train.mirrors import demand_mirrors, open_mirrors
from kdcache.train.provenance import provenance
from kdcache.train.report import TrainReport, teacher_modules
from kdcache.train.session import Session, bare
from kdcache.train.setup import Preparation, prepare
from kdcache.train.state import restore

__all__ = ["describe", "train"]


def describe(config: TrainConfig) -> Preparation:
    """Check the settings against data and cache and say how long the run would be; nothing is written."""
    return prepare(config, open_cache(config.cache), world=World.from_env(), pin_memory=False)


def train(config: TrainConfig, *, resume: bool = False) -> TrainReport:
    """Train a student from cached targets, or from labels on the same views.

    ``resume`` goes on from the checkpoint in ``config.out`` if there is one; the result is that of a run
    that was never stopped.

    Raises:
        ConfigError: settings that do not go together, or a folder that is in use.
        CheckpointError: the checkpoint is damaged or was taken under other settings.
        ShardError: a shard is broken.
        StoreError: the cache is damaged, or does not belong to the shards.
        InterruptedRunError: SIGTERM or SIGINT came, and the state was saved; or a loader worker was lost.
    """
    start = time.monotonic()
    demand_mirrors(config)
    world = World.from_env()
    device = resolve_device(config.device, local_rank=world.local_rank)
    with (
        Interrupts() as interrupts,
        process_group(world, device),
        _own_globals(config.seed, world, device),
    ):
        cache = open_cache(config.cache)
        origin = {"cache": cache.url, "cache_id": cache.content_id()}
        checkpoints = Checkpoints(Path(config.out), _binding(config, cache, world), origin)
        state = _earlier_state(checkpoints, world, resume=resume)
        _set_threads(config, device, earlier=state.get("threads"))
        parts = prepare(
            config, cache, world=world, pin_memory=device.type == "cuda", snapshot=state.get("committed")
        )
        first_step = state["position"][-1] if state else None
        left = parts.plan.steps - (first_step or 0)
        quiet = config.quiet or not world.is_main
        with make_progress(f"train {config.student}", total=left, unit="steps", quiet=quiet) as progress:
            session = assemble(parts, world=world, device=device, interrupts=interrupts, progress=progress)
            with _books(session, parts, state, origin), _lost_workers_explained(interrupts, config.out):
                appraisal = run_to_the_end(session, parts.validation, checkpoints)
        seconds = time.monotonic() - start
        report = _report(session, parts, appraisal, origin, first_step=first_step, seconds=seconds)
        if world.is_main:
            _save_results(session, report)
        return report


def _lost_workers_explained(interrupts: Interrupts, out: str) -> contextlib.AbstractContextManager[None]:
    """Turn torch's error about a dead loader worker into ours; it may come in mid-step, so nothing is saved then."""
    standing = f"What was saved last in {out} stays; add --resume to the same command to go on from there"
    return lost_processes_explained(interrupts, lambda: standing, name="loader", remedy="use fewer --workers")


@contextlib.contextmanager
def _own_globals(seed: int, world: World, device: torch.device) -> Iterator[None]:
    """Seed dropout and the like for the length of a run; give back random state and threads afterwards.

    First weights are drawn elsewhere (``build_student``), samples and seeds by the epoch plan.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed + world.rank)
        threads = torch.get_num_threads()
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _set_threads(config: TrainConfig, device: torch.device, *, earlier: int | None) -> None:
    """Leave cores to the loader: two crowds of threads on the same cores are ten times slower than one.

    Sums depend on how many threads share them, so a resumed run takes the number that it was begun with.
    """
    if device.type == "cpu":
        torch.set_num_threads(config.threads or earlier or max(1, available_cores() - config.workers))


def _binding(config: TrainConfig, cache: Cache, world: World) -> dict[str, Any]:
    names = sorted(PurePosixPath(url).name for url in expand_shards(config.shards))
    cache_identity = json_sha256(cache.identity.canonical())
    return binding_of(config, shard_names=json_sha256(names), cache_identity=cache_identity, world=world.size)


def _earlier_state(checkpoints: Checkpoints, world: World, *, resume: bool) -> dict[str, Any]:
    """Return the state to go on from, empty for a new run."""
    goes_on = (
        claim_folder(checkpoints.folder, checkpoints, resume=resume)
        if world.is_main
        else resume and checkpoints.exists()
    )
    return checkpoints.load() if goes_on else {}


@contextlib.contextmanager
def _books(
    session: Session, parts: Preparation, state: dict[str, Any], origin: Mapping[str, str]
) -> Iterator[None]:
    """Restore the state, if there is one, and keep the journal's mirrors open for the length of a run."""
    if state:
        restore(session, state)
    if session.world.is_main:
        if not state:
            session.journal.cut_back(0)
        session.journal.mirrors = open_mirrors(session.config, session.journal, step=session.position.step)
        _open_journal(session, parts, origin, is_resumed=bool(state))
    try:
        yield
    finally:
        for mirror in session.journal.mirrors:
            mirror.close()


def _open_journal(
    session: Session, parts: Preparation, origin: Mapping[str, str], *, is_resumed: bool
) -> None:
    """Say what is about to happen."""
    replace_file(Path(session.config.out) / "args.yaml", session.config.to_yaml().encode())
    session.journal.write(
        "resumed" if is_resumed else "start",
        step=session.position.step,
        device=device_name(session.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        world=session.world.size,
        steps=session.plan.steps,
        lanes=parts.loader.plan(0).num_lanes,
        kept_mass=parts.kept_mass,
        **origin,
    )
    for notice in parts.notices:
        session.progress.say(notice)
    if is_resumed:
        session.progress.say(f"resumed after step {session.position.step:,}")


def _save_results(session: Session, report: TrainReport) -> None:
    folder = Path(session.config.out)
    save_weights(folder, bare(session.model))
    if session.ema is not None:
        save_weights(folder, session.ema.module, name=EMA_WEIGHTS)
    replace_file(folder / "report.json", report.to_json().encode())


def _report(
    session: Session,
    parts: Preparation,
    appraisal: Appraisal | None,
    origin: Mapping[str, str],
    *,
    first_step: int | None,
    seconds: float,
) -> TrainReport:
    totals = session.totals.of_all(session.world, session.device)
    return TrainReport(
        out=session.config.out,
        weights=str(Path(session.config.out) / "model.safetensors"),
        student=session.config.student,
        steps=session.position.step,
        epochs=session.plan.epochs,
        samples=totals.views,
        views_checked=totals.views_checked,
        views_drifted=totals.views_drifted,
        rows_without_targets=totals.rows_without_targets,
        cache=origin["cache"],
        cache_id=origin["cache_id"],
        kept_mass=parts.kept_mass,
        resumed_from_step=first_step,
        seconds=round(seconds, 3),
        evaluation=None if appraisal is None else appraisal.student,
        evaluation_ema=None if appraisal is None else appraisal.ema,
        steps_skipped=session.scaler.steps_skipped,
        teacher_modules=teacher_modules(),
        provenance=provenance(parts.config, session.loader.cache),
    )

"""Which actors a run on Ray has, and what each of them is told: pure functions, no Ray."""

import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdcache.config.precompute import PrecomputeConfig
from kdcache.errors import ConfigError
from kdcache.precompute.pool import worker_config
from kdcache.precompute.prepare import Settings

__all__ = ["Crew", "actor_config", "crew_of", "own_paths"]


@dataclass(frozen=True, slots=True)
class Crew:
    """The actors of a run.

    Attributes:
        devices: of each actor; Ray chooses which GPU.
        per_node: how many share the cores of a machine, at most.
    """

    devices: tuple[str, ...]
    per_node: int


def crew_of(config: PrecomputeConfig, nodes: Sequence[Mapping[str, float]], *, own: str) -> Crew:
    """Return one actor for each GPU of the cluster, or for each node if it has none, or what the settings say.

    Args:
        config: the settings.
        nodes: the resources of each node.
        own: the kind of device that this process would take.

    Raises:
        ConfigError: there are fewer GPUs than that.
    """
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    kind = config.device.partition(":")[0]
    if kind == "auto":
        kind = "cuda" if any(gpus) else own
    devices = tuple(device.partition(":")[0] for device in config.devices)
    if not devices:
        count = config.workers or (sum(gpus) if kind == "cuda" else len(nodes))
        devices = (kind,) * max(1, count)
    wanted = devices.count("cuda")
    if wanted > sum(gpus):
        raise ConfigError(
            f"the Ray cluster has {sum(gpus)} GPUs, expected {wanted}, one for each actor on cuda; use fewer "
            "--workers or --device cpu, or add nodes first"
        )
    per_node = max(gpus) if wanted else -(-len(devices) // max(1, len(nodes)))
    return Crew(devices, min(per_node, len(devices)))


def own_paths(entries: Sequence[str], *, here: str) -> tuple[str, ...]:
    """Return where Python finds modules beside those that are installed.

    >>> own_paths(["", "/home/me/lab"], here="/home/me")
    ('/home/me', '/home/me/lab')
    """
    paths = sysconfig.get_paths()
    installed = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = [Path(here, entry) for entry in entries if not entry.endswith(".zip")]
    own = [path for path in found if not any(path.is_relative_to(base) for base in installed)]
    return tuple(dict.fromkeys(map(str, own)))


def actor_config(settings: Settings, device: str, per_node: int) -> PrecomputeConfig:
    """Return the settings of one actor: paths from the root, and what its own machine decides left open.

    Args:
        settings: of the run.
        device: of the actor.
        per_node: how many actors share the cores of a machine, at most.
    """
    config = settings.config
    teachers = tuple(
        teacher.model_copy(
            update={
                name: path.absolute()
                for name in ("checkpoint", "class_map")
                if (path := getattr(teacher, name)) is not None
            }
        )
        for teacher in config.teachers
    )
    return worker_config(settings, device).model_copy(
        update={
            "shards": tuple(
                index.url if index.file.is_remote else str(Path(index.url).absolute())
                for index in settings.data.given
            ),
            "cache": config.cache if "://" in config.cache else str(Path(config.cache).absolute()),
            "teachers": teachers,
            "workers": per_node,
            "readers": config.readers,
            "parallel_batches": config.parallel_batches,
        }
    )

"""Where a worker's tasks come from: its share of a run, and then the rest."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from kdcache.errors import ConfigError
from kdcache.precompute.plan import Task
from kdcache.store.layout import Unit

__all__ = ["Place", "Share", "TaskSource"]


class TaskSource(Protocol):
    """Hands out tasks. It is asked for the next one only when a reader is free."""

    def more(self) -> bool:
        """Wait until there is something to do; False when everything is done."""
        ...

    def __iter__(self) -> Iterator[Task]:
        """Yield what can be done now."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those that share a run: number ``index`` of ``count``."""

    index: int = 0
    count: int = 1

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read torchrun's ``RANK`` and ``WORLD_SIZE``, else the variables of a Slurm array.

        Raises:
            ConfigError: they are no numbers, or contradict each other.
        """
        if "RANK" in environ and "WORLD_SIZE" in environ:
            return cls._checked(_number(environ, "RANK"), _number(environ, "WORLD_SIZE"), "RANK / WORLD_SIZE")
        if "SLURM_ARRAY_TASK_ID" not in environ:
            return cls()
        step = _number(environ, "SLURM_ARRAY_TASK_STEP", 1) or 1
        first = _number(environ, "SLURM_ARRAY_TASK_MIN", 0)
        index = (_number(environ, "SLURM_ARRAY_TASK_ID") - first) // step
        count = _number(environ, "SLURM_ARRAY_TASK_COUNT", index + 1)
        # An array with holes (--array=0,7) numbers its tasks beyond their count.
        return cls._checked(index % max(1, count), count, "SLURM_ARRAY_TASK_ID / SLURM_ARRAY_TASK_COUNT")

    @classmethod
    def _checked(cls, index: int, count: int, names: str) -> Self:
        if not 0 <= index < count:
            raise ConfigError(
                f"{names} say worker {index} of {count}, expected a number from 0 below the count; unset them, or "
                "give --worker I/N"
            )
        return cls(index, count)


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError as error:
        raise ConfigError(
            f"{name} is {text!r}, expected a number; a launcher sets it, or give --worker I/N"
        ) from error


class Share:
    """Every n-th task, then whatever is left of the others': a worker that died does not stop the run.

    A task that somebody else committed meanwhile is passed over; of two that do the same task, one commits
    it, and the other one checks that it is the same.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        place: Place,
        *,
        committed: Callable[[], Collection[str]],
        is_committed: Callable[[str], bool],
    ) -> None:
        self._place = place
        self._shares = [tasks[(place.index + k) % place.count :: place.count] for k in range(place.count)]
        self._committed = committed
        self._is_committed = is_committed
        self._now: Sequence[Task] = self._shares[0]
        self._helps = False

    def more(self) -> bool:
        """Return whether any task is left, of the own share first."""
        if self._helps or not self._now:
            self._now = self._others()
        self._helps = True
        return bool(self._now)

    def __iter__(self) -> Iterator[Task]:
        """Yield the tasks of now that nobody has committed yet."""
        return (left for task in self._now if (left := _left(task, self._is_committed)))

    def _others(self) -> Sequence[Task]:
        # From the far end of the next share on: its owner comes from the other side.
        own, *others = self._shares
        in_order = [*(task for share in others for task in reversed(share)), *own]
        committed = self._committed()
        left = [rest for task in in_order if (rest := _left(task, committed.__contains__))]
        return left[: -(-len(left) // self._place.count)]


def _left(task: Task, is_committed: Callable[[str], bool]) -> Task | None:
    names = tuple(
        name for name in task.teachers if not is_committed(Unit(name, task.block.index, task.group).name)
    )
    return Task(task.block, task.group, names) if names else None

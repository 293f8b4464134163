"""Which actor has which task: pure bookkeeping, no Ray."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from kdcache.precompute.plan import Task

__all__ = ["Board"]

_PATIENCE = 60.0
"""Seconds, beside three times the longest task, after which a task is given to a second actor."""


class Board:
    """Hands out tasks until each is done once.

    Args:
        tasks: in the order in which they are handed out.
        now: a clock, in seconds.
    """

    def __init__(self, tasks: Sequence[Task], *, now: Callable[[], float] = time.monotonic) -> None:
        self._pending = deque(tasks)
        self._left = set(tasks)
        self._taken: dict[Task, dict[int, float]] = {}
        self._longest = 0.0
        self._now = now

    @property
    def is_done(self) -> bool:
        """True when no task is left."""
        return not self._left

    def take(self, actor: int) -> Task | None:
        """Return a task for an idle actor; None if there is none for it now.

        When all are handed out it may be one that another actor has had for very long: an actor whose node is
        gone for good waits for ever, with its tasks.
        """
        while self._pending and self._pending[0] not in self._left:
            self._pending.popleft()  # taken back, and then done after all
        task = self._pending.popleft() if self._pending else self._overdue(actor)
        if task is not None:
            self._taken.setdefault(task, {})[actor] = self._now()
        return task

    def done(self, task: Task) -> bool:
        """Note that a task is committed; return whether that is news."""
        holders = self._taken.pop(task, {})
        if task not in self._left:
            return False
        self._left.remove(task)
        self._longest = max(self._longest, self._now() - min(holders.values(), default=self._now()))
        return True

    def lose(self, actor: int) -> None:
        """Take back the tasks of an actor that will never come back."""
        for holders in self._taken.values():
            holders.pop(actor, None)
        back = [task for task, holders in self._taken.items() if not holders]
        for task in back:
            del self._taken[task]
        self._pending.extendleft(reversed(back))

    def _overdue(self, actor: int) -> Task | None:
        latest = self._now() - _PATIENCE - 3 * self._longest
        return next(
            (
                task
                for task, holders in self._taken.items()
                if actor not in holders and len(holders) == 1 and min(holders.values()) < latest
            ),
            None,
        )

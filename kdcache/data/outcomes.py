"""Errors of loader workers, handed over as they are.

torch's DataLoader rebuilds a worker's error with the whole traceback for its message; a message for people has
to arrive as it was written.
"""

from collections.abc import Callable, Iterable, Iterator

from kdcache.data.batch import DistillBatch
from kdcache.errors import KdcacheError

__all__ = ["Outcome", "demanded", "outcome"]

Outcome = DistillBatch | KdcacheError


def outcome(make: Callable[[], DistillBatch]) -> Outcome:
    """Return a batch, or why there is none."""
    try:
        return make()
    except KdcacheError as error:
        return error


def demanded(outcomes: Iterable[Outcome]) -> Iterator[DistillBatch]:
    """Yield batches up to the first error, and raise that.

    Raises:
        KdcacheError: a batch could not be made.
    """
    for result in outcomes:
        if isinstance(result, KdcacheError):
            try:
                raise result
            finally:  # in a cycle with its traceback it would keep the loader, whose workers then end seconds late
                del result, outcomes
        yield result

"""What happens when a sample cannot be decoded: count it and go on, or stop."""

from collections import Counter
from typing import Literal

from kdcache.errors import BadImageError, ShardError
from kdcache.precompute.plan import Task
from kdcache.precompute.reader import RenderedItem

__all__ = ["BadSamples"]


class BadSamples:
    """Counts the bad samples of a worker against what the settings allow.

    Args:
        on_bad_sample: ``skip`` counts and goes on, ``fail`` stops.
        max_bad: the share of samples that may be bad.
        num_samples: of which it is a share: of several workers each answers for its part.
    """

    def __init__(self, *, on_bad_sample: Literal["skip", "fail"], max_bad: float, num_samples: int) -> None:
        self.counts: Counter[str] = Counter()
        self._on_bad_sample = on_bad_sample
        self._max_bad = max_bad
        self._num_samples = num_samples
        self._counted_in: dict[int, int] = {}

    def note(self, rendered: RenderedItem, task: Task, *, first_seed: bool) -> None:
        """Count the bad samples of one item, each sample once: in the first group that shows its block.

        Raises:
            BadImageError: there is one, and none is allowed.
            ShardError: there are more than the allowed share.
        """
        counted_in = self._counted_in.setdefault(task.block.index, task.group)
        if not rendered.complaints or not first_seed or counted_in != task.group:
            return
        if self._on_bad_sample == "fail":
            raise BadImageError(rendered.complaints[0])
        self.counts.update(rendered.table.failures())
        total = self.counts.total()
        if total > self._max_bad * self._num_samples:
            raise ShardError(
                f"{total} of {self._num_samples} samples cannot be decoded, more than --max-bad "
                f"{self._max_bad:.2%}; the last one: {rendered.complaints[-1]}. What was committed stays: repair "
                "the shards, or raise --max-bad, and run the same command again"
            )

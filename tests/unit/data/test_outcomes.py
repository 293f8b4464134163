"""Errors of workers arrive as they were written."""

import pickle
import weakref

import pytest
import torch

from kdcache.data.batch import DistillBatch
from kdcache.data.outcomes import demanded, outcome
from kdcache.errors import ViewMismatchError


def batch() -> DistillBatch:
    empty = torch.empty(0, dtype=torch.int64)
    return DistillBatch(torch.empty(0, 3, 4, 4), empty, {}, (), empty)


def fail() -> DistillBatch:
    raise ViewMismatchError("the view is another one")


def test_batches_before_an_error_are_yielded() -> None:
    made = demanded(pickle.loads(pickle.dumps(outcome(make))) for make in (batch, fail, batch))  # noqa: S301
    assert len(next(made)) == 0
    with pytest.raises(ViewMismatchError, match=r"^the view is another one$"):
        next(made)


def test_what_is_no_error_of_ours_is_not_caught() -> None:
    with pytest.raises(ZeroDivisionError):
        outcome(lambda: [batch()][1 // 0])


def test_an_error_keeps_nothing_of_its_loader_once_it_is_dealt_with() -> None:
    loader = (result for result in (ViewMismatchError("the view is another one"),))
    held = weakref.ref(loader)
    made = demanded(loader)
    del loader
    with pytest.raises(ViewMismatchError):
        next(made)
    assert held() is None

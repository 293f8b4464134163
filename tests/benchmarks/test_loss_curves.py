"""The curves that docs/benchmarks.md reports, over a few steps."""

from kdcache.demo.recipe import UNLABELLED
from tests.benchmarks.loss_curves import measure


def test_training_from_the_cache_is_training_with_the_live_teacher() -> None:
    found = measure(12, UNLABELLED.replace("{000..003}", "000"))
    assert [curves.name for curves in found if curves.difference >= curves.goal] == []
    cut = [curves for curves in found if curves.to_dense is not None]
    assert all(curves.to_dense is not None and curves.to_dense > curves.difference for curves in cut)

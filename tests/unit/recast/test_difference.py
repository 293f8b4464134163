"""What a comparison says, and that it says it briefly."""

from typing import Any

import numpy as np

from kdcache.recast.difference import CacheDiff, KindDiff, ValueDiff


def _diff(**changes: Any) -> CacheDiff:
    fields: dict[str, Any] = {
        "first": "a",
        "second": "b",
        "content_ids": ("sha256:1", "sha256:2"),
        "identity": (),
        "about": (),
        "kinds": {},
        "values": {},
    }
    return CacheDiff(**{**fields, **changes})


def test_means_are_over_all_views() -> None:
    values = ValueDiff()
    values.add_equal(2, is_embedding=False)
    values.add(np.array([0.5, 1.5]), np.array([True, False]), 0, "here")
    values.add(np.zeros(0), np.zeros(0, dtype=bool), 0, "nowhere")
    assert (values.views, values.equal, values.mean_kl, values.worst_kl) == (4, 2, 0.5, 1.5)
    assert (values.top1_agreement, values.worst) == (0.75, "here")
    assert "KL 0.5 on average, 1.5 at worst (here); top-1 agrees on 75.00%" in values.summary()


def test_views_that_one_alone_has_are_told() -> None:
    assert "3 views have targets in A only, 0 in B only" in ValueDiff(only_first=3).summary()


def test_long_lists_are_cut() -> None:
    kind = KindDiff(0, 0, tuple(f"u/{n}" for n in range(20)), (), {f"v/{n}": "differs" for n in range(20)})
    lines = list(kind.lines())
    assert lines[1].endswith("u/7, ...")
    assert lines[-1] == "and 12 more units that differ"
    text = _diff(about=tuple((f"field{n}", n, None) for n in range(30))).text()
    assert "  field15: 15 in A, nothing in B\n  and 14 more fields" in text
    assert len(_diff(identity=(("x", "y" * 500, None),)).text()) < 300


def test_texts_of_a_manifest_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in _diff(about=(("licence\x1b[2J", "a", "b"),)).text()

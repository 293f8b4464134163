"""64 views whose pixels never change for policy version 1; a change here means a new policy version."""

import json
from collections import Counter

import xxhash

from kdcache.keys import ViewKey, view_rng
from kdcache.views.digest import thumbnail, view_digest
from kdcache.views.draw import draw
from kdcache.views.mix import match_window
from kdcache.views.ops import Op
from tests.golden.views.cases import CASES, HERE, drawn, golden_views

GOLDEN = json.loads((HERE / "digests.json").read_text())


def test_the_digests_of_the_golden_views_never_change() -> None:
    assert {case.name: view_digest(view_3HW) for case, view_3HW in golden_views()} == GOLDEN["views"]


def test_there_are_64_golden_views_and_all_differ() -> None:
    assert len(CASES) == len(GOLDEN["views"]) == len(set(GOLDEN["views"].values())) == 64


def test_the_golden_views_use_every_op() -> None:
    used = Counter(
        call.op
        for case in CASES
        for call in draw(case.policy, view_rng(ViewKey(case.name, case.aug_seed)), (300, 200)).ops
    )
    assert set(used) == set(Op)


def test_matchings_never_change() -> None:
    for key, partners in GOLDEN["matchings"].items():
        first_key, aug_seed, num_rows = json.loads(key)
        assert match_window(first_key, aug_seed, num_rows).tolist() == partners


def test_the_thumbnails_of_the_golden_views_never_change() -> None:
    digest = xxhash.xxh3_64()
    for _, view_3HW in golden_views():
        digest.update(thumbnail(view_3HW).tobytes())
    assert digest.hexdigest() == GOLDEN["thumbnails"]


def test_the_drawn_pictures_never_change() -> None:
    pixels = drawn(28, 28, 2).tobytes()
    assert (len(pixels), pixels[:12].hex()) == (2352, GOLDEN["drawn"])

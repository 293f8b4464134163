"""Names of objects cannot lead anywhere else."""

import pytest

from kdcache.store.layout import Layout, record_path
from kdcache.store.paths import safe_path
from tests.support.stores import make_manifest


def test_every_name_of_the_layout_is_safe() -> None:
    layout = Layout.of(make_manifest().identity)
    for unit in layout.units():
        for path in (
            record_path(unit.name),
            *(spec.object_path(*at) for spec, at in layout.objects_of(unit)),
        ):
            assert safe_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\\b", "C:\\a", "a\0", "a\n", "~/a b", "é", "a/" * 600],
)  # fmt: skip
def test_other_names_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot name an object of a cache"):
        safe_path(path)

"""SPDX identifiers become the hub's names."""

import pytest

from kdcache.report.hub_licence import hub_licence, spdx_url


@pytest.mark.parametrize(
    ("licence", "name"),
    [
        ("CC-BY-4.0", "cc-by-4.0"),
        ("apache-2.0", "apache-2.0"),
        ("AGPL-3.0-only", "agpl-3.0"),
        ("ODbL-1.0", "odbl"),
        ("CC-BY-4.0 AND MIT", "other"),
        ("for research at our institute", "other"),
    ],
)
def test_a_licence_has_the_hubs_name(licence: str, name: str) -> None:
    assert hub_licence(licence) == name


def test_only_identifiers_have_a_page() -> None:
    assert spdx_url("GPL-3.0-or-later") == "https://spdx.org/licenses/GPL-3.0-or-later.html"
    assert [spdx_url(text) for text in ("other", "../../x", "MIT.", "https://e.vil")] == [None] * 4

"""The front matter is YAML whose fields are ours, whatever the manifest says."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdcache.report.card_facts import CardFacts
from kdcache.report.card_header import card_header, size_category
from kdcache.store.reader import open_cache
from tests.support.stores import make_store

FIELDS = {"pretty_name", "task_categories", "size_categories", "tags", "viewer"}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    return CardFacts.of(open_cache(make_store(tmp_path_factory.mktemp("header") / "c.zarr")), url=None)


def _read(facts: CardFacts, licence: Any) -> dict[str, Any]:
    about = {**facts.report.about, "licence": licence}
    text = card_header(replace(facts, report=replace(facts.report, about=about)))
    before, body, after = text.split("---\n")
    assert (before, after) == ("", "")
    fields: dict[str, Any] = yaml.safe_load(body)
    return fields


def test_the_fields_are_those_of_the_hub(facts: CardFacts) -> None:
    fields = _read(facts, "Apache-2.0")
    assert fields.keys() == {*FIELDS, "license"}
    assert fields["license"] == "apache-2.0"
    assert fields["size_categories"] == ["n<1K"]
    assert fields["task_categories"] == ["image-classification"]
    assert fields["viewer"] is False


def test_no_licence_is_no_field(facts: CardFacts) -> None:
    assert _read(facts, None).keys() == FIELDS


@given(
    licence=st.text()
    | st.sampled_from(["x\n---\nlicense: mit", "!!python/name:os.system", "a: b #", "*a", "Ja"])
)
def test_a_text_injects_nothing(facts: CardFacts, licence: str) -> None:
    fields = _read(facts, licence)
    assert fields.keys() <= {*FIELDS, "license", "license_name"}
    assert {type(value) for value in fields.values()} <= {str, list, bool}
    assert fields.get("license", "other") == "other" or licence.strip().lower().startswith(
        fields["license"][:2]
    )
    assert set(fields.get("license_name", "a")) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")


def test_sizes_have_the_hubs_names() -> None:
    sizes = [size_category(10**n) for n in range(2, 14)]
    assert sizes[:3] == ["n<1K", "1K<n<10K", "10K<n<100K"]
    assert sizes[-3:] == ["100B<n<1T", "n>1T", "n>1T"]

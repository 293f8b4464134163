"""One table says which addresses a cache may have."""

import pytest

from kdcache.errors import ConfigError
from kdcache.store.objects import open_objects
from kdcache.store.remote import RemoteObjects
from kdcache.store.schemes import FORMS, OPENERS
from kdcache.store.web import WebObjects


def test_every_scheme_opens_without_a_request() -> None:
    kinds = {scheme: type(open_objects(f"{scheme}://place/folder/")) for scheme in OPENERS if scheme != "hf"}
    assert kinds == dict.fromkeys(("s3", "gs", "az", "azure", "abfss"), RemoteObjects) | dict.fromkeys(
        ("http", "https"), WebObjects
    )
    assert open_objects("GS://place/folder/").url == "GS://place/folder"


def test_an_unknown_scheme_is_answered_with_all_that_are_known() -> None:
    with pytest.raises(ConfigError, match="cannot open a cache at ftp://host/c") as caught:
        open_objects("ftp://host/c")
    assert all(form in str(caught.value) for form in FORMS)
    assert "file:///path" in str(caught.value)

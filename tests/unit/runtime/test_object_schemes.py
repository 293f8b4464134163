"""What is known of each kind of address."""

import pytest

from kdcache.runtime.object_schemes import scheme_of


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("s3://b/c", "s3://bucket/folder"),
        ("gs://b/c", "gs://bucket/folder"),
        ("az://b/c", "az://container/folder"),
        ("azure://b/c", "az://container/folder"),
        ("abfss://b/c", "az://container/folder"),
        ("HTTPS://host/c", "https://host/folder"),
    ],
)
def test_an_address_has_one_form(url: str, form: str) -> None:
    scheme = scheme_of(url)
    assert scheme is not None
    assert scheme.form == form


@pytest.mark.parametrize("url", ["", "/data/c", "ftp://host/c", "hf://datasets/a/b", "s3a://b/c"])
def test_other_addresses_are_not_for_obstore(url: str) -> None:
    assert scheme_of(url) is None


@pytest.mark.parametrize(
    ("url", "settings", "allowed"),
    [
        ("s3://b/c", {}, False),
        ("s3://b/c", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, True),
        ("s3://b/c", {"AWS_ENDPOINT_URL": "https://host", "AWS_ENDPOINT": "http://host"}, False),
        ("az://b/c", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, False),
        ("az://b/c", {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:9000/a"}, True),
        ("gs://b/c", {"GOOGLE_BASE_URL": "http://127.0.0.1:9000"}, True),
        ("http://host/c", {}, True),
        ("https://host/c", {}, False),
    ],
)
def test_requests_go_unencrypted_only_where_the_user_says_so(
    url: str, settings: dict[str, str], allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT",
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT",
        "GOOGLE_BASE_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    scheme = scheme_of(url)
    assert scheme is not None
    assert scheme.allows_plain_http(url) is allowed

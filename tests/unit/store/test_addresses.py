"""What is kept or printed of a URL has no secret in it."""

import pytest

from kdcache.errors import ConfigError
from kdcache.store.addresses import demand_no_credentials, public_text, public_url


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:pw@bucket/cache",
        "https://pw@host/a.tar",
        "file://ann:pw@localhost/c",
        "pipe:curl https://ann:pw@h",
    ],
)
def test_a_user_or_password_is_refused_without_naming_it(url: str) -> None:
    with pytest.raises(ConfigError, match="with a user name or password in it") as caught:
        demand_no_credentials(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/a@b", "/data/ann@host/c", "c.zarr", "https://host/a?b=c@d"])
def test_other_addresses_with_an_at_are_fine(url: str) -> None:
    demand_no_credentials(url)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://ann:pw@host/a.tar?token=pw#pw", "https://host/a.tar"),
        ("s3://bucket/train-{000..146}.tar", "s3://bucket/train-{000..146}.tar"),
        ("data/train-?.tar", "data/train-?.tar"),
        ("pipe:curl -H 'Authorization: pw' host", "pipe:..."),
    ],
)
def test_the_public_part_of_an_address_is_kept(url: str, public: str) -> None:
    assert public_url(url) == public


def test_every_address_in_a_text_loses_its_secrets() -> None:
    text = "cannot send to http://ann:pw@host:9000/b?X-Amz-Signature=pw, nor to (https://h/c?sig=pw)"
    assert public_text(text) == "cannot send to http://host:9000/b nor to (https://h/c"

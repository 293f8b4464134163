"""Addresses on a hub have a repository, and may have a revision and a folder."""

import pytest

from kdcache.errors import ConfigError
from kdcache.store.hub_address import HubAddress
from kdcache.store.pin import split_pin


@pytest.mark.parametrize(
    ("url", "revision", "folder"),
    [
        ("hf://datasets/ann/logits", "main", ""),
        ("hf://datasets/ann/logits/", "main", ""),
        ("hf://datasets/ann/logits/k50/c.zarr", "main", "k50/c.zarr"),
        ("hf://datasets/ann/logits@v1.0", "v1.0", ""),
        ("hf://datasets/ann/logits@wip%2Fk50/c.zarr", "wip/k50", "c.zarr"),
        ("hf://datasets/ann/logits@refs/pr/3/c.zarr", "refs/pr/3", "c.zarr"),
    ],
)
def test_an_address_has_three_parts(url: str, revision: str, folder: str) -> None:
    assert HubAddress.parse(url) == HubAddress("ann/logits", revision, folder)


@pytest.mark.parametrize(
    "url",
    [
        "hf://datasets/ann",
        "hf://models/ann/logits",
        "hf://ann/logits",
        "hf://datasets/../logits",
        "hf://datasets/ann/logits@",
        "hf://datasets/ann/logits@a@b",
        "hf://datasets/ann/logits/a/../b",
        "hf://datasets/ann/logits//b",
        "hf://datasets/ann/logits?token=1",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"write hf://datasets/owner/name, with @revision"):
        HubAddress.parse(url)


def test_a_revision_and_a_pin_may_both_be_there() -> None:
    address, pin = split_pin("hf://datasets/ann/logits@v1.0/k50@sha256:1F0C2AB9")
    assert HubAddress.parse(address) == HubAddress("ann/logits", "v1.0", "k50")
    assert pin == "sha256:1f0c2ab9"


def test_paths_are_below_the_folder_and_quoted() -> None:
    address = HubAddress("ann/logits", "wip/k50", "a b")
    assert address.inside("x#/y") == "a b/x#/y"
    assert address.outside("a b/x#/y") == "x#/y"
    assert address.file("0f", "x#/y") == "/datasets/ann/logits/resolve/0f/a%20b/x%23/y"
    assert address.api("tree", "wip/k50", "a b") == "/api/datasets/ann/logits/tree/wip%2Fk50/a%20b"

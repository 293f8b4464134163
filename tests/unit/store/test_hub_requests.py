"""Requests to a hub go through its client, and say nothing that is secret."""

import sys
from collections.abc import Iterator

import huggingface_hub
import pytest

from kdcache.errors import ConfigError
from kdcache.store.hub_requests import (
    HubError,
    client_errors,
    client_of,
    endpoint,
    is_passing,
    reason,
    request,
)
from tests.support.hub import READER, Hub, hub_server


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"hf://datasets/ann/logits needs .*pip install 'kdcache\[hub\]'"):
        client_of("hf://datasets/ann/logits")


def test_the_hub_is_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1/hub/")
    assert endpoint(huggingface_hub) == "http://127.0.0.1:1/hub"
    monkeypatch.delenv("HF_ENDPOINT")
    assert endpoint(huggingface_hub) == huggingface_hub.constants.ENDPOINT


def test_a_reason_has_neither_token_nor_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    error = ValueError(f"bad header b'Bearer {READER}'\nfor https://files/x?X-Amz-Signature=secret")
    assert reason(huggingface_hub, error) == "bad header b'Bearer ...' for https://files/x"


def test_faults_of_the_network_pass_and_refusals_do_not() -> None:
    network = client_errors(huggingface_hub)
    assert issubclass(huggingface_hub.errors.HfHubHTTPError, network)
    assert is_passing(huggingface_hub, ConnectionError("reset"))
    assert not is_passing(huggingface_hub, ValueError("bad card"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", READER)
        yield running


def test_a_server_that_is_busy_is_asked_again(hub: Hub) -> None:
    answers = iter([503, 429, None])
    hub.before = lambda _method, _path: next(answers)
    with pytest.raises(HubError, match="it answered 404 Repository not found") as refused:
        request(huggingface_hub, "GET", "/api/datasets/ann/none", timeout=20)
    assert (refused.value.status, refused.value.code) == (404, "RepoNotFound")
    assert len(hub.requests) == 3


def test_a_refusal_is_not_repeated(hub: Hub) -> None:
    hub.before = lambda _method, _path: 403
    with pytest.raises(HubError, match="it answered 403"):
        request(huggingface_hub, "GET", "/api/datasets/ann/none", timeout=20)
    assert len(hub.requests) == 1


def test_a_server_that_stays_busy_is_given_up(hub: Hub) -> None:
    hub.before = lambda _method, _path: 500
    with pytest.raises(HubError, match="it answered 500"):
        request(huggingface_hub, "GET", "/api/datasets/ann/none", timeout=0.3)

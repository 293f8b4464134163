"""Requests to a hub, in the session of its own client: that knows proxies, certificates and where the token is.

The token is the one of ``HF_TOKEN`` or of the client's file, the hub the one of ``HF_ENDPOINT``. Nothing of them is
kept here: every request asks anew, so objects that use this may be pickled and forked (the client begins a new
session in a child).
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from kdcache.errors import ConfigError
from kdcache.store.addresses import public_text

__all__ = ["HubError", "client_errors", "client_of", "endpoint", "is_passing", "reason", "request"]

_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_ANOTHER_COMMIT = 412
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 8.0
_SHOWN = 200


class HubError(Exception):
    """What a hub or the network had to say, in one line.

    Attributes:
        status: of the answer; 0 without one.
        code: the hub's own word for it, as in ``EntryNotFound``.
    """

    def __init__(self, text: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(text)
        self.status, self.code = status, code


def client_of(url: str) -> Any:
    """Return the module of the hub's client.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra: local caches need none of it
        import huggingface_hub.utils  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"{url} needs huggingface_hub; install it with: pip install 'kdcache[hub]'"
        ) from error
    return huggingface_hub


def endpoint(client: Any) -> str:
    """Return the address of the hub."""
    return str(os.environ.get("HF_ENDPOINT") or client.constants.ENDPOINT).rstrip("/")


def client_errors(client: Any) -> tuple[type[Exception], ...]:
    """Return what the client raises when server or network fail: of whichever HTTP library it uses."""
    library = sys.modules[type(client.utils.get_session()).__module__.partition(".")[0]]
    return (OSError, library.HTTPError)


def reason(client: Any, error: BaseException) -> str:
    """Return an error of the client in one line, without what is secret in it."""
    error = _origin(error)
    answer = getattr(error, "response", None)
    if answer is not None:
        return _refusal(client, answer)
    text = " ".join(public_text(str(error)).split())[:_SHOWN] or type(error).__name__
    return _without_token(client, text)


def is_passing(client: Any, error: BaseException) -> bool:
    """Tell whether what the client raised may be gone the next time: it had no answer, or one that says so."""
    error = _origin(error)
    answer = getattr(error, "response", None)
    if answer is None:
        return isinstance(error, client_errors(client))
    return answer.status_code in _AGAIN or answer.status_code == _ANOTHER_COMMIT


def request(
    client: Any,
    method: str,
    path: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    **body: Any,
) -> Any:
    """Return the answer to a request, repeated while server or network fail.

    Args:
        client: the client's module.
        method: of the request; repeating it must do no harm.
        path: below the hub's address.
        timeout: seconds after which it is given up, repetitions included.
        headers: more of them.
        body: ``params``, ``json`` or ``data`` of the HTTP library.

    Raises:
        HubError: it failed, or was refused.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while True:
        try:
            answer = client.utils.get_session().request(
                method,
                endpoint(client) + path,
                headers=client.utils.build_hf_headers() | dict(headers or {}),
                timeout=max(0.1, deadline - time.monotonic()),
                **body,
            )
        except client.errors.OfflineModeIsEnabled as error:
            raise HubError("HF_HUB_OFFLINE is set, which forbids it") from error
        except client_errors(client) as error:
            wait, failure = pause, HubError(reason(client, error))
        else:
            if answer.status_code < 400:
                return answer
            failure = HubError(
                _refusal(client, answer),
                status=answer.status_code,
                code=answer.headers.get("X-Error-Code", ""),
            )
            wait = max(pause, _asked_to_wait(answer.headers))
            if answer.status_code not in _AGAIN:
                raise failure
        if time.monotonic() + wait > deadline:
            raise failure
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _origin(error: BaseException) -> BaseException:
    # What went wrong while large files were sent is the cause of what is raised.
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error


def _refusal(client: Any, answer: Any) -> str:
    said = answer.headers.get("X-Error-Message") or getattr(answer, "reason_phrase", "")
    said = "".join(letter for letter in public_text(said) if letter.isprintable())[:_SHOWN]
    return _without_token(client, f"it answered {answer.status_code} {said}".rstrip())


def _without_token(client: Any, text: str) -> str:
    token = client.get_token()
    return text.replace(token, "...") if token else text


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0

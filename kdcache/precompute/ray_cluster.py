"""The Ray cluster of a run: one that is there, or one of this machine alone."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from kdcache.config.precompute import PrecomputeConfig
from kdcache.errors import ConfigError, InterruptedRunError
from kdcache.precompute import ray_head
from kdcache.runtime.device import available_cores
from kdcache.runtime.interrupt import Interrupts

__all__ = ["connected"]

_AUTH_MODE = "RAY_AUTH_MODE"
_CONNECT_SECONDS = 5.0


@contextlib.contextmanager
def connected(
    config: PrecomputeConfig, interrupts: Interrupts, standing: Callable[[], str]
) -> Iterator[tuple[Any, bool]]:
    """Yield ``ray``, connected, and whether it is disconnected in the end, which ends all actors of the run.

    A connection that this process has already is used, and left as it is.

    Raises:
        ConfigError: there is no Ray, or no such cluster.
        InterruptedRunError: a signal came.
    """
    address = config.ray_address or os.environ.get("RAY_ADDRESS") or "local"
    ray = _import_ray(is_local=address == "local")
    if ray.is_initialized():
        yield ray, False
        return
    with contextlib.ExitStack() as stack:
        # Ray prints there what goes wrong, and what actors print; but standard output is the report's.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with interrupts.anywhere(standing):
            if address == "local":
                cores = max(available_cores(), config.num_workers, torch.cuda.device_count())
                address = stack.enter_context(_own_cluster(cores))
            stack.callback(ray.shutdown)
            with _own_handlers(standing):
                _connect(ray, address)
        yield ray, True


def _import_ray(*, is_local: bool) -> Any:
    if is_local and "ray" not in sys.modules:
        # Ray listens on all interfaces: without a token anybody near could run code here. It reads this once.
        os.environ.setdefault(_AUTH_MODE, "token")
    try:
        import ray  # noqa: PLC0415 - an extra, and a second that nobody else should pay
    except ImportError as error:
        raise ConfigError(f"--engine ray needs Ray ({error}); pip install 'kdcache[ray]'") from error
    if is_local and _AUTH_MODE not in os.environ and not ray.is_initialized():
        raise ConfigError(
            f"Ray was imported before {_AUTH_MODE} was set; call ray.init() yourself, or set {_AUTH_MODE}=token before "
            "you import it"
        )
    return ray


@contextlib.contextmanager
def _own_cluster(num_cpus: int) -> Iterator[str]:
    """Start a cluster and yield its address; it ends with this process, however that ends."""
    command = [sys.executable, "-P", ray_head.__file__, str(num_cpus)]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as head:
        try:
            address = head.stdout.readline().strip() if head.stdout else ""
            if not address:
                raise ConfigError(
                    "Ray could not be started on this machine, see above; try `ray start --head`, and give the "
                    "address that it prints with --ray-address"
                )
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone already
                os.killpg(head.pid, signal.SIGKILL)


def _connect(ray: Any, address: str) -> None:
    try:
        _demand_listener(address)
        ray.init(address=address, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise ConfigError(
            f"cannot use Ray at {address!r}: {error}; give the HOST:PORT that `ray start --head` printed, or leave "
            "out --ray-address and RAY_ADDRESS for a Ray of this machine alone"
        ) from error


def _demand_listener(address: str) -> None:
    """Find out in seconds what Ray would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


@contextlib.contextmanager
def _own_handlers(standing: Callable[[], str]) -> Iterator[None]:
    """Take SIGTERM back from Ray, which replaces the handler and exits from its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        raise InterruptedRunError(f"stopped by SIGTERM: {standing()}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)

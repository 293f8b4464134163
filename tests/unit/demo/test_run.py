"""How the demo runs commands; the whole of it runs in tests/integration/test_demo.py."""

import pytest

from kdcache.demo.run import Shell
from kdcache.errors import KdcacheError


def test_a_command_is_said_before_it_runs() -> None:
    said: list[str] = []
    output = Shell(said.append).run("--version")
    assert said == ["$ kdcache --version"]
    assert output.startswith("kdcache, version")


def test_a_command_that_fails_stops_the_demo() -> None:
    with pytest.raises(KdcacheError, match="kdcache nonsense ended with exit code 2"):
        Shell(lambda _: None).run("nonsense")

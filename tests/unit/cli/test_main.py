"""The command group: finding commands, and turning errors into exit codes."""

import sys
from types import MappingProxyType, SimpleNamespace

import click
import pytest
from click.testing import CliRunner

import kdcache_cli.main
from kdcache.errors import ConfigError, ViewMismatchError
from kdcache_cli.main import COMMANDS, kdcache

ERRORS = {"config": ConfigError, "views": ViewMismatchError, "ctrl-c": KeyboardInterrupt}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a command that raises what it is told to."""

    @click.command("fail")
    @click.argument("kind")
    def command(kind: str) -> None:
        raise ERRORS[kind]("it went wrong; do this instead")

    monkeypatch.setitem(sys.modules, "kdcache_cli.fail", SimpleNamespace(command=command))
    commands = MappingProxyType({"fail": ("kdcache_cli.fail", "Fail.")})
    monkeypatch.setattr(kdcache_cli.main, "COMMANDS", commands)


def test_help_lists_every_command() -> None:
    output = CliRunner().invoke(kdcache, ["--help"]).output
    assert all(name in output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_page(name: str) -> None:
    result = CliRunner().invoke(kdcache, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: " in result.output


def test_version_is_printed() -> None:
    assert CliRunner().invoke(kdcache, ["--version"]).output.startswith("kdcache, version ")


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(kdcache, ["precomptue"])
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_a_near_miss_names_the_command_that_was_meant() -> None:
    assert "Did you mean precompute?" in CliRunner().invoke(kdcache, ["precomptue"]).output


@pytest.mark.parametrize(("kind", "code"), [("config", 2), ("views", 4), ("ctrl-c", 5)])
def test_what_is_refused_becomes_an_exit_code(failing: None, kind: str, code: int) -> None:
    assert CliRunner().invoke(kdcache, ["fail", kind]).exit_code == code


def test_what_is_refused_becomes_a_sentence_on_stderr(failing: None) -> None:
    result = CliRunner().invoke(kdcache, ["fail", "config"])
    assert result.stderr == "error KD100: it went wrong; do this instead\n"


def test_debug_shows_where_it_was_raised(failing: None) -> None:
    assert "Traceback" in CliRunner().invoke(kdcache, ["--debug", "fail", "config"]).stderr

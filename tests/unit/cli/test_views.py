"""``kdcache views`` draws a sheet and says how the views compare; exit code 4 if they are not the cache's."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from kdcache.config.views import ViewPolicy
from kdcache_cli.main import kdcache
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shards


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [8])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> str:
    return str(make_real_cache(tmp_path / "c.zarr", shards, policy=ViewPolicy.named("rrc", size=24)))


def views(*words: str) -> Result:
    return CliRunner().invoke(kdcache, ["views", *words])


def test_a_policy_is_drawn(tmp_path: Path, shards: list[str]) -> None:
    out = tmp_path / "sheet.png"
    result = views(*shards, "--policy", "light", "--size", "24", "--seeds", "0-2", "--out", str(out))
    assert (result.exit_code, result.output) == (0, f"{out}: 6 samples under 3 seeds of policy 'light'\n")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_cache_is_drawn_and_compared(tmp_path: Path, shards: list[str], cache: str) -> None:
    out = str(tmp_path / "sheet.png")
    result = views(*shards, "--cache", cache, "--samples", "2", "--out", out, "--json")
    facts = json.loads(result.output)
    assert facts["verdicts"] == {"equal": 8, "drift": 0, "other": 0}
    assert facts["out"] == out


def test_other_views_are_drawn_all_the_same_and_exit_with_4(
    tmp_path: Path, shards: list[str], cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdcache.data.cell_views.render_views", lambda *_: np.zeros((1, 3, 24, 24), np.uint8))
    result = views(*shards, "--cache", cache, "--out", str(tmp_path / "sheet.png"))
    assert result.exit_code == 4
    assert "they are framed on the sheet" in result.stderr
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "a.png"], "say which views"),
        (["--policy", "rrc", "--cache", "c", "--out", "a.png"], "the policy is the cache's"),
        (["--policy", "rrc", "--teacher", "t", "--out", "a.png"], "names a teacher of a cache"),
        (["--policy", "rrc", "--out", "a.jpg"], "end in .png"),
        (["--policy", "rrc", "--seeds", "x", "--out", "a.png"], "as in 0-5"),
    ],
)
def test_flags_that_do_not_go_together_exit_with_2(shards: list[str], words: list[str], message: str) -> None:
    result = views(*shards, *words)
    assert result.exit_code == 2
    assert message in result.stderr

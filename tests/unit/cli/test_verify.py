"""``kdcache verify`` says "intact", or names the first bad object and exits with 3."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from kdcache_cli.main import kdcache
from tests.support.stores import make_store


def verify(*words: str) -> Result:
    return CliRunner().invoke(kdcache, ["verify", *words])


def test_an_intact_cache_exits_with_0(tmp_path: Path) -> None:
    result = verify(str(make_store(tmp_path / "c")))
    assert (result.exit_code, "is intact: 15 of 15 units" in result.output) == (0, True)


def test_the_result_can_be_had_as_json(tmp_path: Path) -> None:
    result = verify(str(make_store(tmp_path / "c")), "--json")
    assert json.loads(result.stdout)["objects"] == 30


def test_the_first_bad_object_is_named_with_exit_code_3(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c") / "teachers" / "cnn" / "targets" / "c" / "1" / "0" / "2"
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    result = verify(str(tmp_path / "c"))
    assert result.exit_code == 3
    assert "teachers/cnn/targets/c/1/0/2" in result.stderr
    assert "its sha256 is not the one in its commit record" in result.stderr

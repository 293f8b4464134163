"""The command line of a card."""

import json
from pathlib import Path

from tests.support.precompute_runs import invoke
from tests.support.stores import make_store


def test_a_card_is_written_into_the_cache_and_not_over_another(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    first = invoke(["card", str(cache), "--url", "s3://bucket/c.zarr"])
    assert first.exit_code == 0, first.stderr
    assert f"{cache}/README.md: written" in first.stdout
    assert "kdcache pull s3://bucket/c.zarr c.zarr" in (cache / "README.md").read_text()
    assert json.loads((cache / "croissant.json").read_text())["url"] == "s3://bucket/c.zarr"
    assert "unchanged" in invoke(["card", str(cache), "--url", "s3://bucket/c.zarr"]).stdout
    other = invoke(["card", str(cache)])
    assert other.exit_code == 3
    assert "--force" in other.stderr
    facts = json.loads(invoke(["card", str(cache), "--force", "--json"]).stdout)
    assert facts["written"] == ["README.md", "croissant.json"]


def test_a_card_goes_elsewhere_or_to_the_terminal(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    shown = invoke(["card", str(cache), "--out", "-"])
    assert shown.stdout.startswith("---\npretty_name: Cached logits of cnn\n")
    assert not (cache / "README.md").exists()
    assert invoke(["card", str(cache), "--out", str(tmp_path / "card")]).exit_code == 0
    assert (tmp_path / "card/README.md").read_text() == shown.stdout
    assert not (cache / "README.md").exists()


def test_exit_codes_tell_what_is_wrong(tmp_path: Path) -> None:
    assert invoke(["card", str(tmp_path / "none")]).exit_code == 3
    assert invoke(["card"]).exit_code == 2

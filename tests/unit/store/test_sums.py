"""The file that ``sha256sum --check`` reads."""

import subprocess
from pathlib import Path

from kdcache.digest import sha256_hex
from kdcache.store.sums import dump_sums, parse_sums


def test_sha256sum_accepts_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a b").write_bytes(b"one")
    (tmp_path / "SUMS").write_bytes(dump_sums([("b", sha256_hex(b"two")), ("a b", sha256_hex(b"one"))]))
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SUMS"], cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "SUMS").read_text().splitlines()[0].endswith("  a b")


def test_what_is_written_is_read_and_all_else_left_out() -> None:
    entries = {"a b": sha256_hex(b"one"), "b": sha256_hex(b"two")}
    text = dump_sums(entries.items()) + b"\xff\xfe\nmd5 or so  c\n"
    assert parse_sums(text) == entries

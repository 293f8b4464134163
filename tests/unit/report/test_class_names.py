"""Class names come from a file, or are ImageNet's."""

from pathlib import Path

import pytest

from kdcache.errors import ConfigError
from kdcache.report.class_names import read_class_names


def test_a_file_has_one_name_a_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("t-shirt\n trouser \n\n")
    assert read_class_names(str(path)) == ("t-shirt", "trouser")


def test_imagenet_is_known() -> None:
    names = read_class_names("imagenet")
    assert (len(names), names[0], names[207]) == (1000, "tench", "golden retriever")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one name a line, or 'imagenet'"):
        read_class_names(str(tmp_path / "nothing.txt"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e").touch()
    with pytest.raises(ConfigError, match="holds no class names"):
        read_class_names(str(tmp_path / "e"))

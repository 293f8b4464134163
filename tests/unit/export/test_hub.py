"""The folder is timm's: architecture, classes and input come from it."""

from pathlib import Path

import timm
from timm.data.config import resolve_data_config

from kdcache.export.hub import as_timm_opens_it, write_hub_folder
from kdcache.export.subject import Subject


def test_timm_opens_the_folder_without_being_told_more(subject: Subject, tmp_path: Path) -> None:
    write_hub_folder(subject, tmp_path / "hub", name="deit")
    assert {path.name for path in (tmp_path / "hub").iterdir()} == {
        *("config.json", "model.safetensors", "README.md"),
    }
    assert as_timm_opens_it(subject, tmp_path / "hub")(subject.views(2)).shape == (2, 10)
    model = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True)
    data = resolve_data_config({}, model=model)
    assert (data["input_size"], list(data["mean"]), data["crop_pct"]) == ((3, 24, 24), [0.4, 0.5, 0.6], 0.875)


def test_timm_takes_the_folder_as_a_start_for_other_classes(subject: Subject, tmp_path: Path) -> None:
    write_hub_folder(subject, tmp_path / "hub", name="deit")
    model = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True, num_classes=3)
    assert model(subject.preprocess(subject.views(1))).shape == (1, 3)

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdcache.config.views import PRESETS, ViewPolicy
from kdcache.digest import sha256_hex
from kdcache.errors import ConfigError

DIGESTS = {
    "center": "0eaf43ce",
    "rrc": "a11f436e",
    "deit": "d766d7d0",
    "three-augment": "199c0f7f",
    "light": "4e466a78",
}

OTHER_VALUES: dict[str, Any] = {
    "size": 192,
    "crop": "center",
    "scale": (0.2, 1.0),
    "ratio": (0.5, 2.0),
    "flip": 0.0,
    "interpolation": "bilinear",
    "draft": True,
    "max_pixels": 10,
    "rand_augment": {},
    "three_augment": {},
    "colour_jitter": {},
    "erasing": {},
    "mixing": {},
}


def message_of(preset: str, **overrides: Any) -> str:
    with pytest.raises(ConfigError) as error:
        ViewPolicy.named(preset, **overrides)
    return str(error.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_digest_of_a_preset_never_changes(preset: str) -> None:
    assert ViewPolicy.named(preset).digest()[:8] == DIGESTS[preset]


def test_the_digest_is_the_sha256_of_canonical_json() -> None:
    fields = {
        "policy_version": 1,
        "size": [224, 224],
        "crop": "random-resized",
        "crop_pct": 0.875,
        "scale": [0.08, 1.0],
        "ratio": [0.75, 4 / 3],
        "padding": 0,
        "padding_mode": "constant",
        "flip": 0.5,
        "interpolation": "bicubic",
        "decoder": "pillow",
        "draft": False,
        "max_pixels": 178956970,
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert ViewPolicy.named("rrc").digest() == sha256_hex(text.encode())


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_every_field_is_part_of_the_digest(field: str) -> None:
    assert (
        ViewPolicy.named("rrc", **{field: OTHER_VALUES[field]}).digest() != ViewPolicy.named("rrc").digest()
    )


@pytest.mark.parametrize("field", ["padding", "padding_mode"])
def test_padding_is_part_of_the_digest(field: str) -> None:
    other = ViewPolicy.named("light", **{field: {"padding": 2, "padding_mode": "edge"}[field]})
    assert other.digest() != ViewPolicy.named("light").digest()


def test_the_name_of_the_preset_is_not_part_of_the_digest() -> None:
    assert ViewPolicy().digest() == ViewPolicy.named("rrc").digest()


def test_a_square_size_is_the_same_policy_however_it_is_written() -> None:
    assert ViewPolicy(size=96).digest() == ViewPolicy(size=(96, 96)).digest()


def test_height_comes_before_width() -> None:
    policy = ViewPolicy(size=(96, 128))
    assert (policy.height, policy.width) == (96, 128)
    assert (ViewPolicy(size=7).height, ViewPolicy(size=7).width) == (7, 7)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_policy_survives_yaml_and_json(preset: str, tmp_path: Path) -> None:
    policy = ViewPolicy.named(preset, mixing={"prob": 0.5}, size=(64, 96))
    (tmp_path / "policy.yaml").write_text(policy.to_yaml())
    assert ViewPolicy.from_yaml(tmp_path / "policy.yaml") == policy
    assert ViewPolicy.model_validate_json(policy.model_dump_json()) == policy


def test_a_yaml_section_may_start_from_a_preset(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump({"preset": "deit", "erasing": {"mode": "const"}}))
    policy = ViewPolicy.from_yaml(tmp_path / "policy.yaml")
    assert policy == ViewPolicy.named("deit", erasing={"mode": "const"})
    assert policy.rand_augment is not None


def test_a_section_given_as_a_mapping_changes_only_what_it_names() -> None:
    jitter = ViewPolicy.named("three-augment", colour_jitter={"hue": 0.1}).colour_jitter
    assert jitter is not None
    assert (jitter.brightness, jitter.hue) == (0.3, 0.1)


def test_a_section_can_be_switched_off() -> None:
    policy = ViewPolicy.named("deit", rand_augment=None, erasing=None)
    assert policy.digest() == ViewPolicy.named("rrc").digest()


def test_deit_is_the_published_recipe() -> None:
    policy = ViewPolicy.named("deit")
    assert policy.rand_augment is not None
    assert policy.erasing is not None
    assert (policy.rand_augment.magnitude, policy.rand_augment.magnitude_std) == (9.0, 0.5)
    assert (policy.rand_augment.num_ops, policy.rand_augment.increasing) == (2, True)
    assert (policy.erasing.prob, policy.erasing.mode) == (0.25, "pixel")
    assert policy.mixing is None


def test_the_message_for_an_unknown_preset_names_the_nearest() -> None:
    expected = (
        "unknown view policy 'diet'; did you mean 'deit'? known: center, rrc, deit, three-augment, light"
    )
    assert message_of("diet") == expected
    with pytest.raises(ConfigError, match="did you mean 'deit'"):
        ViewPolicy.parse({"preset": "diet"}, where="a.yaml")


def test_the_message_for_an_unknown_field_names_the_nearest() -> None:
    assert message_of("rrc", paddin=2) == (
        "view policy 'rrc': unknown field 'paddin'; did you mean 'padding'?"
    )
    assert "unknown field 'erasing.mod'; did you mean 'mode'?" in message_of("rrc", erasing={"mod": 1})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"crop_pct": 0.9}, "crop_pct belongs to crop 'center' and crop is 'random-resized'"),
        ({"padding": 2}, "padding belongs to crop 'padded'"),
        ({"crop": "center", "scale": (0.5, 1.0)}, "scale belongs to crop 'random-resized'"),
        ({"crop": "padded", "padding": 224}, "padding 224 must be smaller than the view (224)"),
        ({"scale": (1.0, 0.5)}, "scale: found (1.0, 0.5), expected two rising numbers in (0, 1]"),
        ({"ratio": (0.0, 1.0)}, "ratio: found (0.0, 1.0)"),
        ({"erasing": {"area": (0.5, 1.5)}}, "area: found (0.5, 1.5)"),
        ({"erasing": {"std": (1.0, -1.0, 1.0)}}, "std: found (1.0, -1.0, 1.0), expected three numbers"),
        ({"three_augment": {"blur_radius": (2.0, 1.0)}}, "blur_radius: found (2.0, 1.0)"),
        ({"mixing": {"mixup_alpha": 0, "cutmix_alpha": 0}}, "leave the mixing section out instead"),
        ({"size": 0}, "size"),
        ({"flip": 1.5}, "flip: Input should be less than or equal to 1"),
        ({"interpolation": "nearest"}, "interpolation: Input should be 'bilinear', 'bicubic' or 'lanczos'"),
        ({"policy_version": 2}, "policy_version: Input should be 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(overrides: dict[str, Any], message: str) -> None:
    assert message in message_of("rrc", **overrides)


@given(st.sampled_from(list(PRESETS)), st.integers(5, 512), st.integers(5, 512))
def test_any_preset_takes_any_size(preset: str, height: int, width: int) -> None:
    policy = ViewPolicy.named(preset, size=(height, width))
    assert ViewPolicy.parse(policy.model_dump(mode="json"), where="round trip") == policy

"""Weights from files, and their digest."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcache.errors import TeacherError
from kdcache.teachers.weights import load_strictly, module_sha256, read_weights
from tests.support.teachers import TinyCNN


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_safetensors_come_back(tmp_path: Path) -> None:
    state = TinyCNN().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    assert _same(read_weights(tmp_path / "w.safetensors"), state)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_checkpoints_come_back(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state = TinyCNN().state_dict()
    named = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({wrapper: named, "epoch": 3} if wrapper else named, tmp_path / "w.pth")
    assert _same(read_weights(tmp_path / "w.pth"), state)


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    plain, averaged = TinyCNN(seed=1).state_dict(), TinyCNN(seed=2).state_dict()
    torch.save({"state_dict": plain, "state_dict_ema": averaged}, tmp_path / "w.pth")
    assert _same(read_weights(tmp_path / "w.pth"), averaged)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code from a checkpoint",))


def test_a_checkpoint_that_could_run_code_is_not_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": Evil()}, tmp_path / "w.pth")
    with pytest.raises(TeacherError, match="could run code: it was not loaded"):
        read_weights(tmp_path / "w.pth")
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="there is no checkpoint"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.onnx"])
def test_a_damaged_or_unknown_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02broken" * 10)
    with pytest.raises(TeacherError, match=name):
        read_weights(tmp_path / name)


def test_a_cut_torch_file_is_refused(tmp_path: Path) -> None:
    torch.save(TinyCNN().state_dict(), tmp_path / "w.pth")
    data = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(TeacherError, match="not a whole torch checkpoint"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("value", "message"), [([1], "a list"), ({"a": 3}, "'a' is not a tensor"), ({}, "empty")]
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, value: object, message: str) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(TeacherError, match=message):
        read_weights(tmp_path / "w.pth")


def test_weights_that_fit_are_loaded() -> None:
    source, target = TinyCNN(seed=1), TinyCNN(seed=2)
    load_strictly(target, source.state_dict(), where="w.pth")
    assert _same(dict(target.state_dict()), dict(source.state_dict()))


def test_weights_that_do_not_fit_are_named() -> None:
    state = dict(TinyCNN(num_classes=7).state_dict())
    state["head.weight"] = state.pop("conv.bias")
    with pytest.raises(TeacherError) as caught:
        load_strictly(TinyCNN(), state, where="w.pth")
    text = str(caught.value)
    assert "1 missing in the file (conv.bias)" in text
    assert "1 unknown to the network (head.weight)" in text
    assert "fc.bias is (7,) in the file, (10,) in the network" in text
    assert "num_classes=N" in text


def test_long_lists_of_names_are_cut() -> None:
    with pytest.raises(
        TeacherError, match=r"11 missing in the file \(conv.bias, .*, conv2.bias and 8 more\)"
    ):
        load_strictly(TinyCNN(), {}, where="w.pth")


def test_equal_weights_have_equal_digests_and_others_do_not() -> None:
    assert module_sha256(TinyCNN(seed=1)) == module_sha256(TinyCNN(seed=1))
    assert module_sha256(TinyCNN(seed=1)) != module_sha256(TinyCNN(seed=2))


def test_bfloat16_weights_have_a_digest_of_their_own() -> None:
    assert module_sha256(TinyCNN().bfloat16()) != module_sha256(TinyCNN())


def test_the_memory_layout_does_not_change_the_digest() -> None:
    module = TinyCNN()
    before = module_sha256(module)
    module.to(memory_format=torch.channels_last)
    assert module_sha256(module) == before


class Secretive(nn.Module):
    def get_extra_state(self) -> object:
        return "hidden"


def test_state_that_is_no_tensor_cannot_be_named() -> None:
    with pytest.raises(TeacherError, match="_extra_state"):
        module_sha256(Secretive())

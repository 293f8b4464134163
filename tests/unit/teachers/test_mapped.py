"""A teacher behind a class map, against probabilities added up in float64."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError
from kdcache.models.preprocess import InputSpec
from kdcache.runtime.device import Precision
from kdcache.teachers.build import build_teacher
from kdcache.teachers.class_map import ClassMap
from kdcache.teachers.mapped import MappedTeacher
from kdcache.teachers.protocol import Teacher

CPU = torch.device("cpu")
NO_VIEWS = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
INF = float("inf")


@dataclass
class _Says:
    """A teacher whose logits are given."""

    logits_BC: Tensor
    name: str = "says"
    architecture: str = "tests:says"
    source: str = "test"
    inputs: InputSpec | None = None
    precision: Precision = "float32"
    weights_sha256: str = "0" * 64
    device: torch.device = CPU
    class_map_sha256: str | None = None
    ensemble: dict[str, Any] | None = None
    num_features: int = 3

    def __post_init__(self) -> None:
        self.num_classes = self.logits_BC.shape[1]

    def __call__(self, views_B3HW: Tensor) -> Tensor:
        return self.logits_BC

    def with_features(self, views_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits_BC, torch.ones(len(self.logits_BC), self.num_features)


def _mapped(logits_BC: Tensor, class_map: ClassMap) -> Tensor:
    return MappedTeacher(_Says(logits_BC), class_map)(NO_VIEWS)


def _reference(logits_BC: NDArray[np.float32], class_map: ClassMap) -> NDArray[np.float64]:
    """Add up exp(logit - largest of the target) class by class."""
    out_BC = np.full((len(logits_BC), class_map.num_target), -np.inf)
    for target in range(class_map.num_target):
        sources = [source for source, goal in class_map.target_of.items() if goal == target]
        for row, values in enumerate(logits_BC[:, sources].astype(np.float64)):
            if len(values) and values.max() > -np.inf:
                out_BC[row, target] = values.max() + np.log(np.exp(values - values.max()).sum())
    return out_BC


LOGITS = st.one_of(
    st.floats(-120, 120, width=32),
    st.integers(-3, 3).map(float),  # ties
    st.just(-INF),
)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[NDArray[np.float32], ClassMap]:
    num_source, num_target = draw(st.integers(2, 90)), draw(st.integers(2, 12))
    logits_BC = draw(arrays(np.float32, (draw(st.integers(1, 4)), num_source), elements=LOGITS))
    if draw(st.booleans()):
        logits_BC[-1] = -np.inf
    targets = draw(st.lists(st.integers(-1, num_target - 1), min_size=num_source, max_size=num_source))
    target_of = {source: target for source, target in enumerate(targets) if target >= 0} or {0: 0}
    return logits_BC, ClassMap(num_target, target_of, num_source)


@given(_cases())
def test_a_target_s_logit_is_the_sum_of_its_classes(case: tuple[NDArray[np.float32], ClassMap]) -> None:
    logits_BC, class_map = case
    found_BC = _mapped(torch.from_numpy(logits_BC), class_map)
    assert found_BC.dtype == torch.float32
    np.testing.assert_allclose(found_BC.numpy(), _reference(logits_BC, class_map), rtol=1e-6, atol=2e-6)


@given(_cases())
def test_probabilities_are_those_of_the_kept_classes_added_up(
    case: tuple[NDArray[np.float32], ClassMap],
) -> None:
    logits_BC, class_map = case
    sources = sorted(class_map.target_of)
    rows = np.isfinite(logits_BC[:, sources]).any(axis=1)
    logits_NC = torch.from_numpy(logits_BC[rows])
    kept_NS = logits_NC[:, sources].double().softmax(dim=1)
    goals = torch.tensor([class_map.target_of[source] for source in sources])
    wanted_NC = torch.zeros(len(logits_NC), class_map.num_target, dtype=torch.float64)
    wanted_NC.index_add_(1, goals, kept_NS)
    found_NC = _mapped(logits_NC, class_map).double().softmax(dim=1)
    torch.testing.assert_close(found_NC, wanted_NC, atol=2e-5, rtol=0)


def test_one_class_for_each_target_keeps_every_bit() -> None:
    logits_BC = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)) * 50
    found_BC = _mapped(logits_BC, ClassMap(5, {6: 0, 1: 4, 3: 2}))
    assert torch.equal(found_BC[:, [0, 4, 2]], logits_BC[:, [6, 1, 3]])
    assert bool(torch.isneginf(found_BC[:, [1, 3]]).all())


def test_a_lonely_class_keeps_its_bits_beside_a_crowd() -> None:
    logits_BC = torch.randn(3, 700, generator=torch.Generator().manual_seed(0)) * 50
    found_BC = _mapped(logits_BC, ClassMap(3, {**dict.fromkeys(range(699), 0), 699: 2}))
    assert torch.equal(found_BC[:, 2], logits_BC[:, 699])
    np.testing.assert_allclose(found_BC[:, 0], logits_BC[:, :699].double().logsumexp(dim=1), rtol=1e-6)


@pytest.mark.parametrize("targets", [[0, 1, 2, 0], [0, 1, 2, None]])
@pytest.mark.parametrize(("value", "test"), [(float("nan"), torch.isnan), (INF, torch.isposinf)])
def test_nan_and_infinity_still_show(targets: list[int | None], value: float, test: object) -> None:
    target_of = {source: target for source, target in enumerate(targets) if target is not None}
    logits_BC = torch.zeros(2, 4)
    logits_BC[1, 0] = value
    found_BC = _mapped(logits_BC, ClassMap(3, target_of))
    assert callable(test)
    assert test(found_BC).nonzero().tolist() == [[1, 0]]


def test_the_same_logits_give_the_same_bits() -> None:
    logits_BC = torch.randn(64, 21841, generator=torch.Generator().manual_seed(0)) * 5
    class_map = ClassMap(1000, {source: source * source % 997 for source in range(21841)})
    assert torch.equal(_mapped(logits_BC, class_map), _mapped(logits_BC, class_map))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits_every_time() -> None:
    device = torch.device("cuda")
    logits_BC = torch.randn(64, 21841, device=device) * 5
    class_map = ClassMap(1000, {source: source * source % 997 for source in range(21841)})
    teacher = MappedTeacher(_Says(logits_BC, device=device), class_map)
    first_BC = teacher(NO_VIEWS)
    assert all(torch.equal(teacher(NO_VIEWS), first_BC) for _ in range(50))
    np.testing.assert_allclose(
        first_BC.cpu(), _reference(logits_BC.cpu().numpy(), class_map), rtol=1e-6, atol=2e-6
    )


def test_a_real_teacher_keeps_all_but_its_classes() -> None:
    teacher = build_teacher(TeacherConfig(model="tests.support.teachers:tiny_cnn"), device=CPU)
    class_map = ClassMap(4, {0: 3, 1: 0, 9: 0})
    mapped: Teacher = MappedTeacher(teacher, class_map)
    assert (mapped.num_classes, mapped.class_map_sha256) == (4, class_map.sha256)
    for name in (
        "name",
        "architecture",
        "source",
        "inputs",
        "precision",
        "weights_sha256",
        "device",
        "ensemble",
    ):
        assert getattr(mapped, name) == getattr(teacher, name)
    views_B3HW = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    logits_BC, found_BC = teacher(views_B3HW), mapped(views_B3HW)
    assert torch.equal(found_BC[:, 3], logits_BC[:, 0])
    torch.testing.assert_close(found_BC[:, 0], torch.logaddexp(logits_BC[:, 1], logits_BC[:, 9]))


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        (
            ClassMap(2, {0: 0, 4: 1}, where="the class map m.csv"),
            r"the class map m.csv names teacher class 4",
        ),
        (ClassMap(2, {0: 0, 1: 1}, num_source=3), r"the class map is a list of 3 classes"),
        (ClassMap(2, {0: 0, 1: 1}, num_source=5), r"the class map is a list of 5 classes"),
    ],
)
def test_a_map_for_another_network_is_refused(class_map: ClassMap, message: str) -> None:
    says = _Says(torch.zeros(1, 4))
    with pytest.raises(ConfigError, match=message + r", but teacher 'says' \(tests:says\) has 4 classes"):
        MappedTeacher(says, class_map)


def test_features_pass_by_the_map() -> None:
    says, class_map = _Says(torch.randn(4, 5)), ClassMap(2, {0: 1, 3: 1, 4: 0})
    mapped = MappedTeacher(says, class_map)
    logits_BC, features_BD = mapped.with_features(NO_VIEWS)
    assert torch.equal(logits_BC, mapped(NO_VIEWS))
    assert (mapped.num_features, features_BD.shape) == (3, (4, 3))

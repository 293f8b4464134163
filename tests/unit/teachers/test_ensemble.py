"""Averages of teachers, against float64."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcache.config.precompute import TeacherConfig
from kdcache.teachers import build_teacher
from kdcache.teachers.ensemble import Ensemble, combined_logits

CPU = torch.device("cpu")
TINY = "tests.support.teachers:tiny_cnn"


def _member(name: str, seed: int, **more: Any) -> Any:
    settings = {"model": TINY, "name": name, "kwargs": {"seed": seed}, **more}
    return build_teacher(TeacherConfig.model_validate(settings), device=CPU)


@given(seed=st.integers(0, 1000), members=st.integers(2, 4), scale=st.floats(0.1, 40.0))
def test_probabilities_are_averaged_as_in_float64(seed: int, members: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits_MBC = (rng.standard_normal((members, 5, 12)) * scale).astype(np.float32)
    weights = rng.random(members) + 0.1
    weights /= weights.sum()
    exact_MBC = np.exp(logits_MBC.astype(np.float64) - logits_MBC.max(axis=2, keepdims=True))
    exact_MBC /= exact_MBC.sum(axis=2, keepdims=True)
    wanted_BC = np.log(np.maximum((weights[:, None, None] * exact_MBC).sum(axis=0), 1e-300))
    found_BC = combined_logits(
        [torch.from_numpy(x) for x in logits_MBC], weights.tolist(), "mean-prob"
    ).numpy()
    np.testing.assert_allclose(np.exp(found_BC), np.exp(wanted_BC), rtol=2e-5, atol=1e-30)


def test_logits_are_averaged_by_weight() -> None:
    first, second = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, -torch.inf]])
    assert combined_logits([first, second], [0.25, 0.75], "mean-logit").tolist() == [[4.0, -torch.inf]]


def test_a_class_that_one_member_does_not_know_has_the_mass_of_the_others() -> None:
    first, second = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -torch.inf]])
    found = combined_logits([first, second], [0.5, 0.5], "mean-prob").exp()
    assert found.tolist() == [[pytest.approx(0.75), pytest.approx(0.25)]]


def test_an_ensemble_is_a_teacher_that_says_what_it_is_made_of() -> None:
    one, two = _member("one", 1), _member("two", 2, size=32)
    both = Ensemble([one, two], name="both", how="mean-prob", weights=[1, 3])
    assert both.ensemble is not None
    assert [member["weight"] for member in both.ensemble["members"]] == [0.25, 0.75]
    assert both.ensemble["members"][1]["input"]["height"] == 32
    assert (both.inputs, both.num_classes, both.precision) == (None, 10, "float32")
    views_B3HW = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    alone = {"one": one(views_B3HW), "two": two(views_B3HW)}
    assert torch.equal(both(views_B3HW), both.combine(alone))


def test_other_members_weights_or_means_are_another_ensemble() -> None:
    one, two = _member("one", 1), _member("two", 2)
    made = [
        Ensemble([one, two], name="e", how="mean-prob"),
        Ensemble([one, two], name="e", how="mean-logit"),
        Ensemble([one, two], name="e", how="mean-prob", weights=[1, 2]),
        Ensemble([one, _member("two", 3)], name="e", how="mean-prob"),
    ]
    assert len({ensemble.weights_sha256 for ensemble in made}) == 4
    assert Ensemble([one, two], name="e", how="mean-prob").weights_sha256 == made[0].weights_sha256

"""Is this teacher any better than chance?"""

import pytest
import torch

from kdcache.config.views import ViewPolicy
from kdcache.errors import TeacherError
from kdcache.precompute.check import TeacherCheck, center_policy, demand_logits


@pytest.mark.parametrize(
    ("correct", "labelled", "num_classes"),
    [(200, 256, 1000), (4, 256, 1000), (50, 256, 10), (3, 3, 1000), (0, 0, 10), (0, 2, 10), (1, 1, 1000)],
)
def test_a_teacher_that_knows_something_or_cannot_be_judged_passes(
    correct: int, labelled: int, num_classes: int
) -> None:
    TeacherCheck("cnn", correct, labelled, num_classes).demand_better_than_chance()


@pytest.mark.parametrize(
    ("correct", "labelled", "num_classes"), [(0, 256, 1000), (2, 256, 1000), (30, 256, 10), (0, 5, 10)]
)
def test_a_teacher_that_guesses_is_refused(correct: int, labelled: int, num_classes: int) -> None:
    with pytest.raises(TeacherError) as caught:
        TeacherCheck("cnn", correct, labelled, num_classes).demand_better_than_chance()
    assert f"on {labelled} labelled centre views" in str(caught.value)
    assert "--skip-teacher-check" in str(caught.value)


def test_many_samples_are_no_problem() -> None:
    assert TeacherCheck("cnn", 5_000, 10_000, 2).p_value == pytest.approx(0.504, abs=0.001)


def test_the_result_is_said_in_one_line() -> None:
    assert TeacherCheck("cnn", 3, 4, 10).summary() == "teacher cnn: top-1 75.0% on 4 labelled centre views"
    assert "no labels" in TeacherCheck("cnn", 0, 0, 10).summary()


@pytest.mark.parametrize(
    ("policy", "crop_pct"),
    [
        (ViewPolicy.named("rrc", size=96), 0.875),
        (ViewPolicy.named("light", size=28), 1.0),
        (ViewPolicy.named("center", size=64, crop_pct=0.95), 0.95),
        (ViewPolicy.named("deit", size=32), 0.875),
    ],
)
def test_the_check_looks_at_plain_views_of_the_same_size(policy: ViewPolicy, crop_pct: float) -> None:
    plain = center_policy(policy)
    assert (plain.size, plain.crop, plain.flip, plain.crop_pct) == (policy.size, "center", 0.0, crop_pct)
    assert plain.rand_augment is None


def test_probabilities_are_refused() -> None:
    with pytest.raises(TeacherError, match=r"returns probabilities .* take the softmax off"):
        demand_logits(torch.softmax(torch.randn(4, 5), dim=1), teacher="cnn")


@pytest.mark.parametrize("logits_BC", [torch.randn(4, 5), torch.empty(0, 5), torch.rand(4, 5) * 9])
def test_logits_are_not_mistaken_for_probabilities(logits_BC: torch.Tensor) -> None:
    demand_logits(logits_BC, teacher="cnn")

"""The feature loss against float64, and what it leaves alone."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.losses.feature import FeatureLoss, Kind


def _features(rows: int = 6, width: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def _reference(kind: Kind, mapped_BD: Tensor, teacher_BD: Tensor) -> float:
    r, f = (x.detach().numpy().astype(np.float64) for x in (mapped_BD, teacher_BD))
    if kind == "mse":
        return float(((r - f) ** 2).mean())
    norms = np.linalg.norm(r, axis=1) * np.linalg.norm(f, axis=1)
    return float((1.0 - (r * f).sum(axis=1) / norms).mean())


@pytest.mark.parametrize("kind", ["cosine", "mse"])
@pytest.mark.parametrize("widths", [(5, 5), (3, 7)])
def test_it_is_the_distance_of_the_mapped_features(kind: Kind, widths: tuple[int, int]) -> None:
    student_BS, teacher_BD = _features(width=widths[0]), _features(width=widths[1], seed=1) * 30
    loss = FeatureLoss(*widths, kind=kind)
    expected = _reference(kind, loss.projector(student_BS), teacher_BD)
    assert math.isclose(loss(student_BS, teacher_BD).item(), expected, rel_tol=1e-5)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_equal_features_are_no_distance_apart(kind: Kind) -> None:
    features = _features()
    assert FeatureLoss(5, 5, kind=kind, projector=False)(features, features).item() == pytest.approx(
        0, abs=1e-6
    )


def test_the_teacher_s_scale_does_not_matter_to_the_cosine() -> None:
    loss = FeatureLoss(5, 5)
    one, other = (loss(_features(), _features(seed=1) * scale).item() for scale in (1.0, 50.0))
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_rows_without_features_count_nowhere(kind: Kind) -> None:
    student_BS, teacher_BD = _features().requires_grad_(), _features(seed=1).half()
    loss = FeatureLoss(5, 5, kind=kind)
    expected = loss(student_BS[:4], teacher_BD[:4])
    holed_BD = torch.cat([teacher_BD[:4], torch.full((2, 5), torch.nan, dtype=torch.float16)])
    found = loss(student_BS, holed_BD)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert student_BS.grad is not None
    assert torch.isfinite(student_BS.grad).all()
    assert (student_BS.grad[4:] == 0).all()
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_a_batch_without_features_is_zero_with_a_gradient_of_zero(kind: Kind) -> None:
    student_BS = _features().requires_grad_()
    found = FeatureLoss(5, 5, kind=kind)(student_BS, torch.full((6, 5), torch.nan))
    found.backward()
    assert found.item() == 0.0
    assert student_BS.grad is not None
    assert (student_BS.grad == 0).all()


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_a_teacher_of_zeros_does_no_harm(kind: Kind) -> None:
    student_BS = _features().requires_grad_()
    FeatureLoss(5, 5, kind=kind)(student_BS, torch.zeros(6, 5)).backward()
    assert student_BS.grad is not None
    assert torch.isfinite(student_BS.grad).all()


def test_it_computes_in_float32_under_autocast() -> None:
    loss = FeatureLoss(5, 5, kind="mse")
    student_BS, teacher_BD = _features(), _features(seed=1).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(student_BS, teacher_BD)
    assert torch.equal(found, loss(student_BS, teacher_BD))


def test_the_seed_alone_decides_the_projector() -> None:
    before = torch.get_rng_state()
    one, same, other = (FeatureLoss(4, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["projector.weight"], other["projector.weight"])


def test_the_projector_learns() -> None:
    student_BS = _features(64, 6)
    teacher_BD = student_BS @ torch.ones(6, 4) + 2.0
    loss = FeatureLoss(6, 4, kind="mse")
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.2)
    first = loss(student_BS, teacher_BD).item()
    for _ in range(200):
        optimiser.zero_grad()
        loss(student_BS, teacher_BD).backward()
        optimiser.step()
    assert loss(student_BS, teacher_BD).item() < 1e-2 * first


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 4 features, the teacher's cached ones are 7"):
        FeatureLoss(4, 7, projector=False)
    with pytest.raises(ConfigError, match="feature loss 'l3': expected one of cosine, mse"):
        FeatureLoss(4, 4, kind="l3")  # type: ignore[arg-type]

"""Involution against its definition, and what it must not depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.models.involution import Involution2d, involve


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _by_definition(features_BCHW: Tensor, kernels_BGKHW: Tensor, *, stride: int) -> Tensor:
    """Add up the neighbours of one output pixel after the other."""
    batch, channels, height, width = features_BCHW.shape
    _, groups, area, *size = kernels_BGKHW.shape
    reach = (round(area**0.5) - 1) // 2
    output = features_BCHW.new_zeros(batch, channels, *size)
    for y, x in ((y, x) for y in range(size[0]) for x in range(size[1])):
        tap = 0
        for row in range(stride * y - reach, stride * y + reach + 1):
            for column in range(stride * x - reach, stride * x + reach + 1):
                if 0 <= row < height and 0 <= column < width:
                    weights_BC = kernels_BGKHW[:, :, tap, y, x].repeat_interleave(channels // groups, dim=1)
                    output[:, :, y, x] += weights_BC * features_BCHW[:, :, row, column]
                tap += 1
    return output


@settings(max_examples=60, deadline=None)
@given(
    side=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2, 3]),
    groups=st.integers(1, 3),
    group_channels=st.sampled_from([1, 4, 16]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels_last=st.booleans(),
)
def test_each_pixel_is_the_weighted_sum_of_its_neighbourhood(
    *, side: int, stride: int, groups: int, group_channels: int, height: int, width: int, channels_last: bool
) -> None:
    features_BCHW = _random(2, groups * group_channels, height, width)
    if channels_last:
        features_BCHW = features_BCHW.contiguous(memory_format=torch.channels_last)
    kernels_BGKHW = _random(2, groups, side**2, -(-height // stride), -(-width // stride), seed=1)
    torch.testing.assert_close(
        involve(features_BCHW, kernels_BGKHW, stride=stride),
        _by_definition(features_BCHW, kernels_BGKHW, stride=stride),
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_the_kernel_of_a_pixel_is_made_from_that_pixel_s_mean(stride: int) -> None:
    layer = Involution2d(32, 3, stride, group_channels=8).double().eval()
    features_BCHW = _random(2, 32, 6, 4)
    blocks = features_BCHW.unflatten(2, (-1, stride)).unflatten(4, (-1, stride)).mean(dim=(3, 5))
    narrow = torch.relu(layer.norm(torch.einsum("bchw,nc->bnhw", blocks, layer.reduce.weight[..., 0, 0])))
    spanned = torch.einsum("bnhw,kn->bkhw", narrow, layer.span.weight[..., 0, 0])
    assert layer.span.bias is not None
    kernels_BGKHW = (spanned + layer.span.bias[:, None, None]).reshape(2, 4, 9, *blocks.shape[2:])
    torch.testing.assert_close(
        layer(features_BCHW), _by_definition(features_BCHW, kernels_BGKHW, stride=stride)
    )


def test_a_stride_on_a_map_of_odd_size_keeps_the_last_row() -> None:
    layer = Involution2d(16, 3, 2).double().eval()
    assert layer(_random(1, 16, 7, 5)).shape == (1, 16, 4, 3)


def test_gradients_are_right() -> None:
    features_BCHW, kernels_BGKHW = _random(1, 4, 4, 3), _random(1, 2, 9, 2, 2, seed=1)
    assert torch.autograd.gradcheck(
        lambda features, kernels: involve(features, kernels, stride=2),
        (features_BCHW.requires_grad_(), kernels_BGKHW.requires_grad_()),
    )


def test_half_precision_is_rounded_once() -> None:
    features_BCHW, kernels_BGKHW = (
        tensor.bfloat16() for tensor in (_random(1, 16, 9, 9), _random(1, 1, 49, 9, 9, seed=1))
    )
    exact = involve(features_BCHW.double(), kernels_BGKHW.double()).bfloat16()
    assert (involve(features_BCHW, kernels_BGKHW) != exact).float().mean() < 0.01


def test_the_layer_runs_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = Involution2d(32).eval()(torch.randn(1, 32, 8, 8).bfloat16())
    assert output.dtype == torch.bfloat16


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match="kernel_size is 4, expected an odd number"):
        Involution2d(16, 4)


def test_channels_that_groups_or_reduction_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"24 channels .* both must divide 24"):
        Involution2d(24)
    with pytest.raises(ConfigError, match="reduction by 3"):
        Involution2d(32, reduction=3)

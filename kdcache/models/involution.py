"""Involution (Li et al. 2021): every pixel makes its own kernel, and the channels of a group share it."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kdcache.errors import ConfigError

__all__ = ["Involution2d", "involve"]


class Involution2d(nn.Module):
    """A layer from (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)), zeros around the borders.

    The kernels come from the pixel in the middle alone: average pooling by the stride, a 1 x 1 convolution to
    ``channels / reduction``, batch norm and ReLU, and a 1 x 1 convolution to k * k weights for each group.

    Args:
        channels: of the input and of the output.
        kernel_size: the side of the neighbourhood, odd.
        stride: between the pixels that are kept.
        group_channels: how many channels share a kernel.
        reduction: how much narrower the layer in the middle of the kernel generation is.

    Raises:
        ConfigError: the kernel size is even, or the channels cannot be divided like that.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        stride: int = 1,
        *,
        group_channels: int = 16,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ConfigError(f"an involution's kernel_size is {kernel_size}, expected an odd number")
        if channels % group_channels or channels % reduction:
            raise ConfigError(
                f"an involution over {channels} channels cannot have groups of {group_channels} channels and a "
                f"reduction by {reduction}: both must divide {channels}"
            )
        narrow = channels // reduction
        self.stride = stride
        self.groups = channels // group_channels
        # ceil_mode: on a map of odd size the last row has a kernel, too; even sizes are as in the paper.
        self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.reduce = nn.Conv2d(channels, narrow, 1, bias=False)
        self.norm = nn.BatchNorm2d(narrow)
        self.act = nn.ReLU()
        self.span = nn.Conv2d(narrow, self.groups * kernel_size**2, 1)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Make the kernels and lay them over the neighbourhoods."""
        narrow_BCHW = self.act(self.norm(self.reduce(self.pool(features_BCHW))))
        kernels_BGKHW = self.span(narrow_BCHW).unflatten(1, (self.groups, -1))
        return involve(features_BCHW, kernels_BGKHW, stride=self.stride)


def involve(features_BCHW: Tensor, kernels_BGKHW: Tensor, *, stride: int = 1) -> Tensor:
    """Weigh and add each output pixel's neighbourhood with that pixel's own kernels.

    Args:
        features_BCHW: channel c belongs to group c // (C / G).
        kernels_BGKHW: for each group the K = k * k weights, row by row, of each output pixel.
        stride: the neighbourhood of output pixel (y, x) is centred at (stride * y, stride * x).
    """
    _, groups, area, height, width = kernels_BGKHW.shape
    side = math.isqrt(area)
    reach = side // 2
    # One multiply-add of the whole map per tap, channels innermost. unfold needs k * k times the memory and was
    # 7 to 20 times slower on CPU (8 maps of 7 x 7 to 112 x 112); the same loop over (B, C, H, W) was up to twice
    # as quick on maps above 28 x 28 in that memory order, but teachers run channels_last, and at 7 x 7 it was
    # 3 times slower in either.
    padded_BHWC = pad(features_BCHW.permute(0, 2, 3, 1), (0, 0, reach, reach, reach, reach))
    padded_BHWGC = padded_BHWC.unflatten(-1, (groups, -1))
    taps_KBHWG1 = kernels_BGKHW.permute(2, 0, 3, 4, 1).contiguous().unsqueeze(-1)
    # In half precision 49 roundings of the sum would add up.
    exact = torch.promote_types(features_BCHW.dtype, torch.float32)
    sums_BHWGC = features_BCHW.new_zeros(
        (len(features_BCHW), height, width, *padded_BHWGC.shape[-2:]), dtype=exact
    )
    for tap, tap_BHWG1 in enumerate(taps_KBHWG1.unbind()):
        rows, columns = (
            slice(first, first + stride * (size - 1) + 1, stride)
            for first, size in zip(divmod(tap, side), (height, width), strict=True)
        )
        sums_BHWGC.addcmul_(padded_BHWGC[:, rows, columns], tap_BHWG1)
    return sums_BHWGC.flatten(3).permute(0, 3, 1, 2).to(features_BCHW.dtype)

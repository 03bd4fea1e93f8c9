"""3x3 convolutions by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, CVPR 2016), for CPUs.

36 multiplications make 16 outputs that take 144 directly, so a dense convolution that is bound by
arithmetic may gain up to 4 times less its transforms. float32 loses about one decimal digit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

# Interpolation points 0, 1, -1, 2, -2 and infinity.
_INPUT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
_KERNEL = (
    torch.tensor(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
    )
    / 24
)
_OUTPUT = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64
)
_SIDE = 4  # of a tile of the output; it is made of 6 x 6 pixels of the input
# Fewer tiles than this do not pay for reading 36 / 9 times the weights.
_FEWEST_TILES = 16
# Bytes of transformed input at a time: what stays in a cache and is not mapped anew for every call.
_BLOCK = 8 << 20


def suits(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is of a kind that gains: dense, 3x3, same size out as in, 128 channels or more."""
    plain = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.padding == (1, 1)
    wide = min(conv.in_channels, conv.out_channels) >= 128
    return plain and wide and conv.dilation == (1, 1) and conv.groups == 1


class WinogradConv2d(nn.Module):
    """Stands in for ``conv`` (``suits``), and hands it what is too small to gain: (N, C, H, W) in and out.

    Weights are transformed once, so later changes of ``conv`` do not show. The result lies
    channels last. Differs from ``conv`` by up to 2e-5 of the largest value. What follows ``conv``
    as its norm follows here too.
    """

    weight: Tensor
    to_tiles: Tensor
    from_tiles: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.direct = conv
        g = _KERNEL.to(conv.weight.device)
        kernel = torch.einsum("ai,ocij,bj->abco", g, conv.weight.detach().double(), g)
        flat = kernel.reshape(36, conv.in_channels, conv.out_channels)
        self.register_buffer("weight", flat.to(conv.weight.dtype).contiguous(), persistent=False)
        for name, matrix in (("to_tiles", _INPUT), ("from_tiles", _OUTPUT)):
            both = torch.kron(matrix, matrix).to(self.weight)
            self.register_buffer(name, both, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        rows, columns = -(-height // _SIDE), -(-width // _SIDE)
        if images * rows * columns < _FEWEST_TILES:
            return self.direct(x)
        padded = x.new_zeros((images, _SIDE * rows + 2, _SIDE * columns + 2, channels))
        padded[:, 1 : height + 1, 1 : width + 1] = x.permute(0, 2, 3, 1)
        out = x.new_empty((images, rows, _SIDE, columns, _SIDE, self.weight.shape[2]))
        for some, band in _blocks(images, rows, columns * channels * 36 * x.element_size()):
            self._convolve(padded[some, _SIDE * band.start : _SIDE * band.stop + 2], out[some, band])
        flat = out.view(images, _SIDE * rows, _SIDE * columns, -1)[:, :height, :width]
        if self.direct.bias is not None:
            flat += self.direct.bias
        result = flat.permute(0, 3, 1, 2)
        norm = getattr(self.direct, "norm", None)
        return result if norm is None else norm(result)

    def _convolve(self, padded: Tensor, out: Tensor) -> None:
        """padded: (n, 4 r + 2, 4 c + 2, C); out: (n, r, 4, c, 4, C'), written."""
        images, rows, _, columns, _, outputs = out.shape
        image, line, pixel, channel = padded.stride()
        tiles = padded.as_strided(
            (6, 6, images, rows, columns, padded.shape[3]),
            (line, pixel, image, _SIDE * line, _SIDE * pixel, channel),
            padded.storage_offset(),
        ).reshape(36, -1)
        products = torch.bmm((self.to_tiles @ tiles).view(36, -1, padded.shape[3]), self.weight)
        made = self.from_tiles @ products.view(36, -1)
        made = made.view(_SIDE, _SIDE, images, rows, columns, outputs)
        out.copy_(made.permute(2, 3, 0, 4, 1, 5))


def _blocks(images: int, rows: int, row_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Images and rows of tiles, some at a time: whole images while they are small."""
    together = max(_BLOCK // (rows * row_bytes), 1)
    band = rows if together > 1 else max(_BLOCK // row_bytes, 1)
    for first in range(0, images, together):
        for top in range(0, rows, band):
            yield slice(first, min(first + together, images)), slice(top, min(top + band, rows))

"""Products with matrices whose values stand in a band, such as mel filters, without the zeros beside it."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDTH = 16  # columns of a block: float32 values in the widest vector register, below which products get slower
_LEAST_ROWS = 4  # fewer are multiplied by other routines, whose rounding differs in the last bit


class BandedMatrix:
    """A matrix, cut into blocks of neighbouring columns, each without the zero rows above and below its values.

    Args:
        matrix: (rows, columns), on the CPU.
        repeats: so many neighbouring values of the input meet each row.
    """

    def __init__(self, matrix: Tensor, repeats: int = 1) -> None:
        self._blocks = [_block(matrix, start, repeats) for start in range(0, matrix.shape[1], _WIDTH)]

    def product(self, values: Tensor, out: Tensor) -> None:
        """Multiply from the left, without gradients.

        Args:
            values: (n, rows * repeats), on the CPU.
            out: (n, columns), is overwritten.
        """
        n = len(values)
        if n < _LEAST_ROWS:
            several = out.new_empty(n * _LEAST_ROWS, out.shape[1])
            self.product(values.repeat(_LEAST_ROWS, 1), several)
            out.copy_(several[:n])
            return
        for rows, columns, block in self._blocks:
            torch.mm(values[:, rows], block.to(values.dtype), out=out[:, columns])


def _block(matrix: Tensor, start: int, repeats: int) -> tuple[slice, slice, Tensor]:
    """Give the rows of the input, the columns of the output, and what lies between them."""
    columns = slice(start, min(start + _WIDTH, matrix.shape[1]))
    used = matrix[:, columns].any(dim=1).nonzero().flatten().tolist() or [0]
    rows = slice(used[0], used[-1] + 1)
    block = matrix[rows, columns].repeat_interleave(repeats, dim=0)
    return slice(rows.start * repeats, rows.stop * repeats), columns, block

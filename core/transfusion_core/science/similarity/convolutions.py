"""Convolutions as a CPU runs them fastest; what they put out is the same up to rounding."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, unfold

from transfusion_core.science.similarity.threads import MANY, each

_FEW_POSITIONS = 16
"""Of maps with so few, a convolution with channels innermost reads all of its weights anew for every image."""
_LARGEST = 2**22
"""Numbers of a matrix that stands for a convolution: 16 MiB in float32."""
_IMAGES = 64
"""How many a matrix always multiplies: a product of few is rounded otherwise than the same rows among many."""
_STRIPES = 4
"""Into how many a matrix is cut, each for a thread: how many threads share a product changes its bits too."""
_OF_EACH_SIDE = ("kernel_size", "dilation", "padding", "stride")
_NAMED = ("same", "valid")


@contextmanager
def fast_convolutions(model: nn.Module) -> Iterator[None]:
    """Hold a model's weights in the order in memory that its convolutions are run in; put them back in the end.

    Otherwise every batch reorders every convolution's weights, a tenth of a pass.
    """
    plain = {weight: weight.data for weight in model.parameters() if weight.ndim == 4}
    with ExitStack() as undo:
        try:
            for weight, data in plain.items():
                weight.data = data.contiguous(memory_format=torch.channels_last)
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    undo.callback(module.register_forward_pre_hook(_ordered).remove)
                    if type(module).forward is nn.Conv2d.forward and "forward" not in vars(module):
                        module.forward = _Product(module)  # type: ignore[method-assign]
                        undo.callback(vars(module).pop, "forward")
            yield
        finally:
            for weight, data in plain.items():
                weight.data = data


class _Product:
    """A convolution that multiplies maps smaller than its kernel by a matrix, where it can.

    Of a kernel of 3 x 3 over maps of 2 x 2, five of nine numbers would meet the padding each time.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        self._convolution = convolution
        self._matrices: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, input: Tensor) -> Tensor:
        convolution = self._convolution
        if not _is_small(input, convolution):
            return nn.Conv2d.forward(convolution, input)
        size = tuple(input.shape[2:])
        if size not in self._matrices:
            self._matrices[size] = _matrix(convolution, size)
        rows, columns = _output_size(convolution, size)
        products = _multiplied(input.movedim(1, -1).flatten(1), self._matrices[size])
        maps = products.view(len(input), rows, columns, -1).movedim(-1, 1)
        return maps if convolution.bias is None else maps + convolution.bias[:, None, None]


def _multiplied(images: Tensor, matrix: Tensor) -> Tensor:
    """Multiply rows (n, k) with the rows of a matrix (m, k, 1, 1), to the same bits whatever n and torch's threads are.

    So every product is of as many rows and made on one thread. Rows are the positions of one map, by a convolution,
    which is a fifth faster than `linear`.
    """
    filled = pad(images, (0, 0, 0, -len(images) % _IMAGES))
    parts, stripes = torch.split(filled, _IMAGES), matrix.chunk(_STRIPES)
    made = each(lambda pair: conv2d(pair[0].T[None, :, :, None], pair[1]), list(product(parts, stripes)), numbers=MANY)
    rows = [torch.cat(made[first : first + len(stripes)], dim=1) for first in range(0, len(made), len(stripes))]
    return torch.cat(rows, dim=2)[0, :, : len(images), 0].T.contiguous()


def _ordered(convolution: nn.Conv2d, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Bring the maps that a convolution is given, and its weights, to the order in memory that is fastest."""
    if not inputs or inputs[0].ndim != 4:
        return None
    maps, *others = inputs
    few = convolution.groups == 1 and 1 < maps.shape[-2:].numel() <= _FEW_POSITIONS
    order = torch.contiguous_format if few and not _is_small(maps, convolution) else torch.channels_last
    if isinstance(convolution.weight, nn.Parameter):
        convolution.weight.data = convolution.weight.data.contiguous(memory_format=order)
    return maps.contiguous(memory_format=order), *others


def _is_small(maps: Tensor, convolution: nn.Conv2d) -> bool:
    """Tell whether maps have at most half as many positions as the kernel, and the matrix is not too large."""
    kernel = convolution.kernel_size
    if maps.ndim != 4 or 2 * maps.shape[2:].numel() > math.prod(kernel) or torch.is_autocast_enabled("cpu"):
        return False
    weight = convolution.weight  # not before: it may be worked out anew
    plain = convolution.padding_mode == "zeros" and convolution.padding not in _NAMED
    fits = weight.shape == (convolution.out_channels, maps.shape[1], *kernel)  # not so where there are groups
    if not plain or not fits or not isinstance(weight, nn.Parameter):
        return False
    rows, columns = _output_size(convolution, maps.shape[2:])
    return min(rows, columns) > 0 and rows * columns * convolution.out_channels * maps[0].numel() <= _LARGEST


def _output_size(convolution: nn.Conv2d, size: Sequence[int]) -> tuple[int, int]:
    sides = zip(size, *(getattr(convolution, name) for name in _OF_EACH_SIDE), strict=True)
    rows, columns = (
        (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for side, kernel, dilation, pad, stride in sides
    )
    return rows, columns


def _matrix(convolution: nn.Conv2d, size: Sequence[int]) -> Tensor:
    """Return the matrix (positions of outputs x channels, positions of inputs x channels) of maps of that size."""
    alone = torch.eye(math.prod(size)).view(-1, 1, *size)  # every position by itself
    met = unfold(alone, *(getattr(convolution, name) for name in _OF_EACH_SIDE))  # (inputs, kernel, outputs): 1 or 0
    weight = convolution.weight.detach().flatten(2)
    matrix = weight.new_zeros(met.shape[2], convolution.out_channels, met.shape[0], convolution.in_channels)
    for place, tap, output in met.nonzero().tolist():
        matrix[output, :, place] = weight[:, :, tap]
    return matrix.flatten(2).flatten(0, 1)[:, :, None, None]

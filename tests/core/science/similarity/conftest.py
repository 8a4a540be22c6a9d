"""Layers that share some of their directions, and the moments of two matrices."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from transfusion_core.science.similarity import Moments

Matrix = NDArray[np.float64]
Layers = Callable[..., tuple[Matrix, Matrix]]
MomentsOf = Callable[[Matrix, Matrix], Moments]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def layers(generator: np.random.Generator) -> Layers:
    """Two layers of n samples that see a common signal, each with noise and a mean of its own."""

    def draw(n: int = 300, p: int = 8, q: int = 5) -> tuple[Matrix, Matrix]:
        signal = generator.standard_normal((n, 4))
        x = signal @ generator.standard_normal((4, p)) + generator.standard_normal((n, p)) + 3
        y = signal @ generator.standard_normal((4, q)) + generator.standard_normal((n, q)) - 5
        return x, y

    return draw


@pytest.fixture
def moments_of() -> MomentsOf:
    def accumulate(x: Matrix, y: Matrix) -> Moments:
        moments = Moments(x.shape[1], y.shape[1])
        moments.update(x, y)
        return moments

    return accumulate

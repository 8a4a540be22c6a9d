"""How often intervals hold the truth: a thousand simulated draws of images for two layers with a common signal.

Run `PYTHONPATH=core python tests/benchmarks/bench_intervals.py [simulations]`. Each image gives four correlated
positions. Of every measure: its mean over the draws (what an interval of as many images is about), its value on very
many images, and the shares of intervals that hold the one and the other. 93 to 97% is what an interval of 95% should
do for the mean; for the limit only where the number of images no longer biases the measure.
"""

import sys
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transfusion_core.science.similarity import MEASURES, Options, PairResult, Sampling, compare

POSITIONS = 4
OPTIONS = Options(sampling=Sampling(POSITIONS), batch_size=10**6, permute=False)


@dataclass(frozen=True)
class Setting:
    """So many images; how strong the common signal is; whether layers are cut off at 0; neurons of either layer."""

    images: int
    strength: float
    rectified: bool
    p: int = 8
    q: int = 6

    @property
    def signals(self) -> int:
        """Most correlations of wide layers are noise."""
        return min(self.q, 20)


SETTINGS = [
    Setting(800, 4.0, False),
    Setting(800, 2.0, True),
    Setting(2000, 1.0, True),
    Setting(800, 4.0, False, 40, 32),
    Setting(800, 2.0, True, 40, 32),
    Setting(60, 4.0, False, 40, 32),
]


class Half(nn.Module):
    """A layer that was simulated: some channels of what comes in."""

    def __init__(self, channels: slice) -> None:
        super().__init__()
        self.layer, self.channels = nn.Identity(), channels
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        taken: Tensor = self.layer(images[:, self.channels])
        return taken


def draw(setting: Setting, images: int, seed: list[int]) -> Tensor:
    """Two layers beside each other, (images, p + q, 2, 2): an image's own part is common to its positions."""
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((setting.signals, setting.p + setting.q))

    def parts(width: int) -> NDArray[np.float64]:
        own = generator.standard_normal((images, 1, width))
        return 0.7 * (own + generator.standard_normal((images, POSITIONS, width)))

    decay = 0.8 ** np.arange(setting.signals)
    common = parts(setting.signals) * decay @ mixing / setting.signals**0.5
    layers = setting.strength * common + parts(setting.p + setting.q)
    if setting.rectified:
        layers = np.maximum(layers, 0)
    return torch.from_numpy(layers).transpose(1, 2).reshape(images, -1, 2, 2).contiguous()


def measured(setting: Setting, images: Tensor) -> dict[str, PairResult]:
    first, second = Half(slice(0, setting.p)), Half(slice(setting.p, None))
    found = compare(first, second, images, layers=["layer"], measures=list(MEASURES), options=OPTIONS)
    return {result.measure: result for result in found}


def run(setting: Setting, simulations: int) -> None:
    limit = measured(setting, draw(setting, 100_000, [1]))
    found = [measured(setting, draw(setting, setting.images, [2, number])) for number in range(simulations)]
    print(f"{setting}, {simulations} simulations")
    for name in MEASURES:
        values = np.array([each[name].value for each in found])
        low, high = np.array([each[name].interval for each in found]).T
        held = np.mean((low <= values.mean()) & (values.mean() <= high))
        held_limit = np.mean((low <= limit[name].value) & (limit[name].value <= high))
        print(f"  {name:13s} mean {values.mean():.4f} (sd {values.std():.4f}), limit {limit[name].value:.4f}; ", end="")
        print(f"held: mean {held:.1%}, limit {held_limit:.1%}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for setting in SETTINGS:
        run(setting, int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

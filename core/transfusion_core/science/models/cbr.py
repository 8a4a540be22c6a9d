"""The CBR family of Raghu et al. 2019 (arXiv 1902.07208): convolution, batch norm, ReLU, max pool, again and again.

Stride-1 SAME convolutions without bias, 3x3/2 max pools, global average pool, dense head. No public ImageNet
weights exist for these networks.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class CbrPlan:
    """What tells one CBR network from another."""

    kernel: int
    widths: tuple[int, ...]
    pooled_stages: int
    """The first so many stages end in a max pool."""

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages, in forward order."""
        return [f"stage{number}" for number in range(1, len(self.widths) + 1)]


CBR = {
    "cbr-large-t": CbrPlan(kernel=7, widths=(32, 64, 128, 256, 512), pooled_stages=4),
    "cbr-large-w": CbrPlan(kernel=7, widths=(64, 128, 256, 512), pooled_stages=4),
    "cbr-small": CbrPlan(kernel=7, widths=(32, 64, 128, 256), pooled_stages=4),
    "cbr-tiny": CbrPlan(kernel=5, widths=(32, 64, 128, 256), pooled_stages=4),
    # The appendix prints these widths for Tiny; the printed parameter count fits only the row above.
    "cbr-tiny-appendix": CbrPlan(kernel=5, widths=(64, 128, 256, 512), pooled_stages=4),
}


class Cbr(nn.Module):
    """A CBR network: images `(n, c, h, w)` of any size to logits `(n, classes)`.

    Its stages are `stage1`, `stage2`, ...; each is made of `conv`, `bn`, `relu` and, but for the last of
    `cbr-large-t`, `pool`.
    """

    def __init__(self, plan: CbrPlan, *, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.stage_names = plan.stage_names
        inputs = (channels, *plan.widths)
        for index, name in enumerate(self.stage_names):
            pooled = index < plan.pooled_stages
            self.add_module(name, _stage(inputs[index], inputs[index + 1], kernel=plan.kernel, pooled=pooled))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(plan.widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images`."""
        x = images  # (n, c, h, w)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)  # (n, width, h / 2, w / 2)
        logits: Tensor = self.head(self.pool(x).flatten(1))  # (n, classes)
        return logits


def _stage(inputs: int, width: int, *, kernel: int, pooled: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=False),
        bn=nn.BatchNorm2d(width),
        relu=nn.ReLU(inplace=True),
    )
    if pooled:
        parts["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(parts)

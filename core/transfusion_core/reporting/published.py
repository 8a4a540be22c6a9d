"""Values of Raghu et al. 2019 shown beside the user's own, with how sure each is (science.md, section 8).

Marks: p the paper, t a third party's statement, d derived by arithmetic or read off a figure, u unconfirmed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published number and its mark."""

    value: float
    mark: str


_TABLE_1 = {
    "resnet50": (96.4, 96.7, "t"),
    "inception_v3": (96.6, 96.7, "t"),
    "cbr-large-t": (96.2, 96.2, "t"),
    "cbr-large-w": (95.8, 95.8, "u"),
    "cbr-small": (95.7, 95.8, "u"),
    "cbr-tiny": (95.8, 95.8, "u"),
}
"""Retina AUROC in percent, random and transfer: retinal images of 587 px, all of them."""

_FIGURE_2 = {
    "resnet50": (0.239, 0.266),
    "inception_v3": (0.217, 0.255),
    "cbr-large-w": (0.360, 0.362),
    "cbr-small": (0.369, 0.375),
    "cbr-tiny": (0.360, 0.359),
}
"""CCA of the top two layers: pretrained against random, random against random."""

_FIGURE_5 = {"resnet50": (8.3, 30.2, 69.3), "inception_v3": (7.8, 25.5, 47.4)}
"""Thousands of steps to 0.91 AUROC: transfer, Mean Var, random."""


def table_1(model: str, init: str) -> Published | None:
    """Retina AUROC as a share, for a model trained from random or pretrained weights."""
    if model not in _TABLE_1 or init not in ("random", "pretrained"):
        return None
    random, transfer, mark = _TABLE_1[model]
    return Published((transfer if init == "pretrained" else random) / 100, mark)


def top_layers(model: str, pair: str) -> Published | None:
    """Mean CCA of the top two layers for a pair of inits."""
    if model not in _FIGURE_2 or pair not in ("pretrained-random", "random-random"):
        return None
    transfer, random = _FIGURE_2[model]
    return Published(transfer if pair == "pretrained-random" else random, "d")


def speed_up(model: str, init: str) -> Published | None:
    """How many times fewer steps than random an init takes to the threshold."""
    places = {"pretrained": 0, "mean_var": 1}
    if model not in _FIGURE_5 or init not in places:
        return None
    steps = _FIGURE_5[model]
    return Published(steps[2] / steps[places[init]], "d")

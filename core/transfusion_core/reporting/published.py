"""Values of Raghu et al. 2019 shown beside the user's own, with how sure each is (science.md, section 8).

Marks: p the paper, t a third party's statement, d derived by arithmetic or read off a figure, u unconfirmed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean


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

_CHEST_LABELS = ("atelectasis", "cardiomegaly", "consolidation", "edema", "effusion")
_OTHER_NAMES = {"pleural effusion": "effusion", "pleural_effusion": "effusion", "oedema": "edema"}
_TABLE_2 = {
    ("resnet50", "random"): ((79.52, 75.23, 85.49, 88.34, 88.70), "t"),
    ("resnet50", "pretrained"): ((79.76, 74.93, 84.42, 88.89, 88.07), "t"),
    ("cbr-large-t", "random"): ((81.52, 74.83, 88.12, 87.97, 88.37), "u"),
    ("cbr-large-t", "pretrained"): ((80.89, 76.84, 86.15, 89.03, 88.44), "u"),
    ("cbr-large-w", "random"): ((79.79, 74.63, 86.71, 84.80, 86.53), "u"),
    ("cbr-large-w", "pretrained"): ((80.70, 77.23, 86.87, 89.57, 87.29), "u"),
    ("cbr-small", "random"): ((80.43, 74.36, 88.07, 86.20, 86.14), "u"),
    ("cbr-small", "pretrained"): ((80.18, 75.24, 86.48, 89.09, 87.88), "u"),
    ("cbr-tiny", "random"): ((80.81, 75.17, 85.31, 84.87, 85.56), "u"),
    ("cbr-tiny", "pretrained"): ((80.02, 75.74, 84.28, 89.81, 87.69), "u"),
}
"""Chest x-ray AUROC in percent, in the order of `_CHEST_LABELS`."""

PUBLISHED_SIZE = 5000
"""Images that the paper's Table 3 is of."""
_TABLE_3 = {"resnet50": (92.2, 94.6), "cbr-large-t": (93.6, 93.9), "cbr-large-w": (93.6, 93.7)}
"""Retina AUROC in percent with 5,000 train images, random and transfer."""

_FIGURE_5 = {
    "resnet50": {"pretrained": 8_300, "mean_var": 30_200, "random": 69_300},
    "inception_v3": {"pretrained": 7_800, "mean_var": 25_500, "random": 47_400},
}
"""Steps to an AUROC of 0.91."""

_FIGURE_2 = {
    "resnet50": (0.239, 0.266),
    "inception_v3": (0.217, 0.255),
    "cbr-large-w": (0.360, 0.362),
    "cbr-small": (0.369, 0.375),
    "cbr-tiny": (0.360, 0.359),
}
"""CCA of the top two layers: pretrained against random, random against random."""


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


def table_2(model: str, init: str, label: str) -> Published | None:
    """Chest x-ray AUROC as a share, for one of the five labels by any of its names."""
    name = _OTHER_NAMES.get(label.lower(), label.lower())
    if (model, init) not in _TABLE_2 or name not in _CHEST_LABELS:
        return None
    values, mark = _TABLE_2[model, init]
    return Published(values[_CHEST_LABELS.index(name)] / 100, mark)


def table_3(model: str, init: str) -> Published | None:
    """Retina AUROC as a share with 5,000 train images."""
    if model not in _TABLE_3 or init not in ("random", "pretrained"):
        return None
    random, transfer = _TABLE_3[model]
    return Published((transfer if init == "pretrained" else random) / 100, "t")


def gain(task: str, model: str, train_size: int | str, labels: Iterable[str]) -> Published | None:
    """Transfer's AUROC minus random's: of retinas by Tables 1 and 3, of chests the mean over Table 2's labels."""
    if task == "ordinal":
        tables: dict[int | str, Callable[[str, str], Published | None]] = {PUBLISHED_SIZE: table_3, "all": table_1}
        table = tables.get(train_size)
        random, transfer = (table(model, init) if table else None for init in ("random", "pretrained"))
        return Published(transfer.value - random.value, transfer.mark) if random and transfer else None
    if task != "multilabel" or train_size != "all":
        return None
    known = [(table_2(model, "random", name), table_2(model, "pretrained", name)) for name in dict.fromkeys(labels)]
    gains = [(transfer.value - random.value, transfer.mark) for random, transfer in known if random and transfer]
    return Published(fmean(value for value, _ in gains), gains[0][1]) if gains else None


def speed_up(model: str, init: str) -> Published | None:
    """How many times fewer steps than random an init took to an AUROC of 0.91, read off Figure 5."""
    steps = _FIGURE_5.get(model, {})
    return Published(steps["random"] / steps[init], "d") if init in steps and init != "random" else None

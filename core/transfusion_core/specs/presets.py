"""Presets: experiment specs with the dataset left open."""

from typing import Any

from transfusion_core.specs.published import Provenance, provenance, training_of

_RANDOM_AND_TRANSFER: list[Any] = ["random", {"kind": "pretrained", "source": "imagenet"}]
_ALL_INITS: list[Any] = [*_RANDOM_AND_TRANSFER, {"kind": "mean_var", "source": "imagenet"}]
_IMAGENET = {"imagenet": {"timm": "default"}}
_NATURAL = {"natural": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 2000}}}}
_PARTS: list[Any] = [
    {"kind": "transfuse", "source": "natural", "prefix": "all"},
    {"kind": "transfuse", "source": "natural", "prefix": "all", "rest": "mean_var"},
    {"kind": "slim", "source": "natural", "prefix": "stage2"},
    "gabor",
]
_PAPER = ["dataset", "performance", "similarity", "movement", "reuse", "convergence"]
_CBR = ["cbr-large-t", "cbr-large-w", "cbr-small", "cbr-tiny"]
_RETINA, _CHEST = "raghu2019-retina", "raghu2019-chest-xray"


def _on_natural(inits: list[Any]) -> list[Any]:
    return [init if isinstance(init, str) else {**init, "source": "natural"} for init in inits]


PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "name": "quick",
        "models": ["cbr-tiny", "resnet18"],
        "sources": {"natural": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 20, "eval_every": 20}}}},
        "inits": _on_natural(_ALL_INITS),
        "seeds": 2,
        "image_size": 36,  # the smallest at which ResNet's last stage has more than one position
        "training": {"steps": 16, "eval_every": 8, "checkpoints": 1},
        "similarity": {"measures": ["cca", "svcca", "cka"], "images": 256},
    },
    "transfusion-table-1": {
        "name": "Table 1: retina, random and transfer",
        "models": ["resnet50", "inception_v3"],
        "sources": _IMAGENET,
        "inits": _RANDOM_AND_TRANSFER,
        "seeds": 3,
        "image_size": 587,
        "training": training_of(_RETINA),
        "sections": ["performance"],
    },
    "transfusion-table-2": {
        "name": "Table 2: chest x-ray, random and transfer",
        "models": ["resnet50"],
        "sources": _IMAGENET,
        "inits": _RANDOM_AND_TRANSFER,
        "seeds": 3,
        "image_size": 224,
        "training": training_of(_CHEST),
        "sections": ["performance"],
    },
    "transfusion-table-3": {
        "name": "Table 3: 5,000 images, random and transfer",
        "models": ["resnet50"],
        "sources": _IMAGENET,
        "inits": _RANDOM_AND_TRANSFER,
        "train_sizes": [5000, "all"],
        "seeds": 3,
        "image_size": 587,
        "training": training_of(_RETINA),
        "sections": ["performance", "small_data"],
    },
    "transfusion-figure-2": {
        "name": "Figure 2: are the learned representations different",
        "models": ["resnet50", "inception_v3"],
        "sources": _IMAGENET,
        "inits": _RANDOM_AND_TRANSFER,
        "seeds": 3,
        "image_size": 587,
        "training": training_of(_RETINA),
        "sections": ["similarity"],
        "similarity": {"positions_per_image": 16},
    },
    "transfusion-figure-3": {
        "name": "Figure 3: larger models move less",
        "models": _CBR,
        "sources": _NATURAL,
        "inits": _on_natural(_RANDOM_AND_TRANSFER),
        "seeds": 3,
        "image_size": 224,
        "training": training_of(_RETINA),
        "sections": ["movement"],
    },
    "transfusion-figure-4": {
        "name": "Figure 4: per-layer similarity before and after training",
        "models": ["resnet50", "cbr-large-w"],
        "sources": _NATURAL,
        "inits": _on_natural(_RANDOM_AND_TRANSFER),
        "seeds": 3,
        "image_size": 224,
        "training": training_of(_RETINA),
        "sections": ["reuse"],
    },
    "transfusion-figure-5": {
        "name": "Figure 5: convergence from random, transfer and Mean Var",
        "models": ["resnet50", "inception_v3"],
        "sources": _IMAGENET,
        "inits": _ALL_INITS,
        "seeds": 3,
        "image_size": 587,
        "training": training_of(_RETINA),
        "sections": ["convergence"],
    },
    "transfusion-all": {
        "name": "Transfusion: every section",
        "models": ["resnet50", *_CBR],
        "sources": _NATURAL,
        "inits": _on_natural([*_ALL_INITS, {"kind": "transfuse", "source": "natural", "prefix": "all"}]),
        "train_sizes": [200, "all"],
        "seeds": 3,
        "image_size": 224,
        "training": training_of(_RETINA),
        "sections": [*_PAPER, "small_data", "transfusion", "robustness", "verdict"],
    },
    "beyond": {
        "name": "Beyond the paper: how much has to be transferred, and what it rests on",
        "models": ["cbr-large-w"],
        "sources": _NATURAL,
        "inits": _on_natural([*_ALL_INITS, *_PARTS]),
        "seeds": 5,
        "image_size": 224,
        "training": training_of(_RETINA),
        "sections": ["dataset", "performance", "convergence", "transfusion", "robustness", "verdict"],
    },
}


def provenance_of(name: str) -> Provenance | None:
    """Where a preset's settings come from; None for one that follows no paper."""
    if not name.startswith("transfusion-"):
        return None
    return provenance(_CHEST if name == "transfusion-table-2" else _RETINA, PRESETS[name])

"""Specs and facts that several tests start from."""

import copy
from typing import Any

from transfusion_core.specs.dataset import DatasetSpec, demo_dataset
from transfusion_core.specs.facts import DatasetFacts, Facts, foretold_splits, ingest_draft

EXPERIMENT: dict[str, Any] = {
    "name": "does transfer help on my fundus images",
    "dataset": "demo-retina@1",
    "models": ["cbr-tiny", "resnet18"],
    "sources": {"natural": {"pretrain": {"dataset": "demo-natural@1", "training": {"steps": 20}}}},
    "inits": ["random", {"kind": "pretrained", "source": "natural"}, {"kind": "mean_var", "source": "natural"}],
    "seeds": 2,
    "train_sizes": ["all"],
    "image_size": 64,
    "training": {"optimizer": "adam", "lr": 1e-3, "batch_size": 32, "steps": 60, "eval_every": 20},
    "similarity": {"measures": ["cca", "svcca", "cka"], "images": 300},
}


def experiment(**changes: Any) -> dict[str, Any]:
    """The example with some fields changed."""
    return {**copy.deepcopy(EXPERIMENT), **changes}


def facts() -> Facts:
    """A service on which nobody has registered anything: the demo datasets."""
    specs = [spec for name in ("demo-retina", "demo-natural", "demo-chest") if (spec := demo_dataset(name))]
    named = {spec.name: _unregistered(spec) for spec in specs}
    versions = {f"{name}@1": found for name, found in named.items()}
    return Facts(datasets={**named, **versions}, dataset_names=tuple(versions))


def _unregistered(spec: DatasetSpec) -> DatasetFacts:
    return DatasetFacts(
        name=f"{spec.name}@1",
        spec=spec,
        ingest=ingest_draft(spec),
        registered=False,
        splits=foretold_splits(spec),
    )

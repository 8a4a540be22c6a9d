"""Made-up results of an experiment, as a report job collects them: known numbers for the reporting tests."""

from collections.abc import Callable
from typing import Any

from specs_examples import experiment, facts
from transfusion_core.specs.expand import Expansion, expand
from transfusion_core.specs.experiment import ExperimentSpec

DATASET_DIGEST = "d" * 64
LIFT = {"random": 0.0, "pretrained": 0.06, "mean_var": 0.02, "transfuse": 0.05, "slim": 0.05, "gabor": 0.01}
"""What each kind of init adds to AUROC in these studies."""
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def expansion(**changes: Any) -> Expansion:
    """The example experiment, changed, as jobs."""
    return expand(ExperimentSpec.model_validate(experiment(**changes)), facts())


def jobs(
    expanded: Expansion, *, failed: Callable[[dict[str, Any]], bool] = lambda labels: False
) -> list[dict[str, Any]]:
    """Every job of the expansion but the report, ended with results; those that `failed` picks without."""
    return [_job(draft.kind, draft.labels, failed(draft.labels)) for draft in expanded.drafts if draft.kind != "report"]


def _job(kind: str, labels: dict[str, Any], failed: bool) -> dict[str, Any]:
    state = {"state": "failed", "reason": "nan"} if failed else {"state": "succeeded", "reason": None}
    make = {"ingest": _ingest, "train": _train, "compare": _compare, "profile": _profile}
    make |= {"probe": _probe, "barrier": _barrier, "pixels": _pixels}
    return {"kind": kind, "labels": labels, **state, "result": None if failed else make[kind](labels)}


def _ingest(labels: dict[str, Any]) -> dict[str, Any]:
    return {
        "digest": DATASET_DIGEST,
        "task": "ordinal",
        "images": 2000,
        "classes": ["0", "1", "2", "3", "4"],
        "splits": {"train": 1300, "val": 300, "test": 400},
        "channels": 3,
        "annotations": {"key": "a", "size_bytes": 1, "sha256": "0" * 64},
        "pack": [],
        "manifest": {"key": "m", "size_bytes": 1, "sha256": "0" * 64},
    }


def _pixels(labels: dict[str, Any]) -> dict[str, Any]:
    return {"size": 64, "channels": 3, "order": "nhwc", "shards": []}


def _profile(labels: dict[str, Any]) -> dict[str, Any]:
    """Of six patients one is in two splits; one image is there twice, and labelled differently."""
    splits = {"train": 1300, "val": 300, "test": 400}
    twice = {"files": ["a.png", "b.png"], "splits": ["train", "test"], "labels": ["0", "1"], "kind": "exact"}
    shared = {"files": ["c.png", "d.png"], "splits": ["train", "val"], "labels": ["0", "0"], "kind": "patient"}
    counts = {"exact": (1, 2, 1, 1), "near": (0, 0, 0, 0), "patient": (1, 2, 1, 0)}
    words = ("groups", "files", "across_splits", "across_labels")
    return {
        "digest": DATASET_DIGEST,
        "task": "ordinal",
        "classes": ["0", "1"],
        "splits": splits,
        "counts": {split: {"0": images - 100, "1": 100} for split, images in splits.items()},
        "resolutions": {"64x64": 2000},
        "intensities": [{"channel": "grey", "mean": 0.5, "std": 0.1, "histogram": [1 / 32] * 32}],
        "missing": {"train": {"0": 7, "1": 0}},
        "patients": {"total": 6, "splits": {"train": 4, "val": 1, "test": 2}},
        "found": [{"kind": kind, **dict(zip(words, found, strict=True))} for kind, found in counts.items()],
        "duplicates": [twice],
        "leaks": [twice, shared],
        "samples": [{"label": "0", "files": ["a.png"], "picture": PICTURE}],
    }


def _train(labels: dict[str, Any]) -> dict[str, Any]:
    final = 0.8 + LIFT[labels["init"].partition("(")[0]] + 0.01 * (labels["seed"] % 1000)  # source runs count from 1000
    rows = [_label(name, final - 0.01 * place) for place, name in enumerate((">=2", ">=1", "macro"))]
    values = [0.5, 0.5 + (final - 0.5) * (0.95 if labels["init"] == "pretrained" else 0.5), final - 0.001, final]
    return {
        "metrics": {
            "val": {"auroc": None, "loss": labels.get("lr", 0.4)},
            "test": {"auroc": final, "auprc": 0.7, "loss": 0.4, "labels": rows},
        },
        "checkpoints": [],
        "series": [{"name": "auroc", "split": "test", "steps": [0, 20, 40, 60], "values": values}],
        "weight_report": {"key": "w", "size_bytes": 1, "sha256": "0" * 64},
        "manifest": {
            "dataset_digest": DATASET_DIGEST,
            "source_digest": f"digest of {labels['model']}'s source" if labels["source"] else None,
            "environment": {"transfusion": "0.1.0", "python": "3.11.2", "torch": "2.15.0", "device": "cpu"},
        },
        "steps": 60,
        "images_per_second": 100.0,
        "parameters": 10,
    }


def _label(name: str, auroc: float) -> dict[str, Any]:
    return {"label": name, "auroc": auroc, "auprc": auroc - 0.1, "n": 400, "positives": 200}


def _compare(labels: dict[str, Any]) -> dict[str, Any]:
    layers = ["stage1", "stage2", "stage3"]
    kept = {"random": 0.6, "pretrained": 0.9}.get(labels["a"]["init"], 0.6)
    if labels["role"] == "start":
        kept -= 0.05 * labels["a"]["seed"]
    results = [
        {
            "layer_a": layer,
            "layer_b": layer,
            "measure": measure,
            "value": kept - 0.1 * place,
            "n": 4000,
            "p": 64,
            "q": 64,
            "null_iid": 0.1,
            "null_permutation": 0.15,
            "null_untrained": 0.6,
        }
        for measure in ("cca", "svcca", "cka")
        for place, layer in enumerate(layers)
    ]
    if labels["role"] == "layers":
        places = [(a, b) for a in layers for b in layers]
        results = [
            {**results[0], "measure": "cka", "layer_a": a, "layer_b": b, "value": 0.5 + 0.4 * (a == b)}
            for a, b in places
        ]
    moved = [{"layer": layer, "relative_l2": 0.5 + place, "cosine": 0.9} for place, layer in enumerate(layers)]
    movement = labels["role"] == "movement"
    return {
        "probe_set": {"digest": "d", "images": 300},
        "layers_a": layers,
        "layers_b": layers,
        "results": results,
        "weights": moved if movement else [],
        "filters": [0.8, 0.6, None] if movement else [],
        "filter_pictures": [PICTURE, PICTURE] if movement else [],
        "between": [{"step": 9, "results": results, "weights": moved}] if movement else [],
    }


def _probe(labels: dict[str, Any]) -> dict[str, Any]:
    """Stage 2 matters most; layers hold more the higher they are; blocks cost 0.02 each time their number doubles."""
    trained = 0.8 + LIFT[labels["init"]] + 0.01 * labels["seed"]
    lost = {"stage1": 0.1, "stage2": 0.2, "stage3": 0.0}
    stages = [
        {"trial": trial, "layer": layer, "stage": place, "auroc": trained - factor * drop}
        for trial, factor in (("reinit", 1), ("rerand", 1.5))
        for place, (layer, drop) in enumerate(lost.items(), start=1)
    ]
    probes = [
        {"trial": trial, "layer": layer, "stage": place, "auroc": trained - 0.05 * (3 - place) - less}
        for trial, less in (("knn", 0.03), ("linear_probe", 0.0))
        for place, layer in enumerate(lost, start=1)
    ]
    blocks = [{"trial": "block_shuffle", "blocks": 2**i, "auroc": trained - 0.02 * i} for i in range(5)]
    return {"auroc": trained, "images": 1400, "scores": stages + probes + blocks}


def _barrier(labels: dict[str, Any]) -> dict[str, Any]:
    height = 0.0 if labels["pair"] == "pretrained-pretrained" else 0.5
    return {"points": [], "loss": {"value": height}, "auroc": {"value": height / 5}}

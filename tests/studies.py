"""Made-up results of an experiment, as a report job collects them: known numbers for the reporting tests."""

from collections.abc import Callable
from typing import Any

from specs_examples import experiment, facts
from transfusion_core.specs.expand import Expansion, expand
from transfusion_core.specs.experiment import ExperimentSpec

DATASET_DIGEST = "d" * 64
LIFT = {"random": 0.0, "pretrained": 0.06, "mean_var": 0.02}
"""What each init adds to AUROC in these studies."""


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
    make = {"ingest": _ingest, "train": _train, "compare": _compare}[kind]
    return {"kind": kind, "labels": labels, **state, "result": None if failed else make(labels)}


def _ingest(labels: dict[str, Any]) -> dict[str, Any]:
    return {
        "digest": DATASET_DIGEST,
        "task": "ordinal",
        "images": 2000,
        "classes": ["0", "1", "2", "3", "4"],
        "splits": {"train": 1300, "val": 300, "test": 400},
        "channels": 3,
        "pack": {"key": "p", "size_bytes": 1, "sha256": "0" * 64},
    }


def _train(labels: dict[str, Any]) -> dict[str, Any]:
    final = 0.8 + LIFT[labels["init"]] + 0.01 * labels["seed"]
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
    kept = 0.9 if labels["a"]["init"] == "pretrained" else 0.6
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
    moved = [{"layer": layer, "relative_l2": 0.5 + place, "cosine": 0.9} for place, layer in enumerate(layers)]
    movement = labels["role"] == "movement"
    return {
        "probe_set": {"digest": "d", "images": 300},
        "layers_a": layers,
        "layers_b": layers,
        "results": results,
        "weights": moved if movement else [],
        "filters": [0.8, 0.6, None] if movement else [],
    }

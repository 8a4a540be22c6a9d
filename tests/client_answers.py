"""What the service in memory of the client's tests answers."""

from typing import Any

NOW = "2026-11-22T23:00:00Z"
DIGEST = "d" * 64

PROFILE: dict[str, Any] = {
    **{"digest": DIGEST, "task": "ordinal", "classes": ["0"], "splits": {"train": 10}, "counts": {}},
    **{
        "resolutions": {"8x8": 10},
        "intensities": [],
        "missing": {},
        "patients": None,
        "found": [],
        "duplicates": [],
        "samples": [],
    },
    "leaks": [{"files": ["a", "b"], "splits": ["train", "test"], "labels": ["0", "0"], "kind": "near"}],
}


def section(*rows: dict[str, Any], text: str = "Words.") -> dict[str, Any]:
    return {"complete": True, "missing": [], "text": text, "charts": {}, "table": list(rows)}


def experiment_of(made: str, spec: dict[str, Any]) -> dict[str, Any]:
    record = {"id": made, "name": spec.get("name", "e"), "state": "queued", "spec": spec, "digest": DIGEST}
    return {**record, "counts": {"queued": 3}, "progress": 0.0, "eta_seconds": 12.0, "created_at": NOW}


def plan_of(spec: dict[str, Any]) -> dict[str, Any]:
    arm = {"model": "cbr-tiny", "init": "random", "source": None}
    run = {**arm, "train_size": "all", "seed": 0, "key": DIGEST, "exists": False}
    totals = {"jobs_by_kind": {"train": 1}, "new_jobs": 1, "images_to_train": 1280, "estimated_seconds": 3.0}
    return {"runs": [run], **totals, "estimated_bytes": 10, "warnings": ["small"], "digest": DIGEST, "spec": spec}


def run_of(run_id: str) -> dict[str, Any]:
    arm = {"model": "cbr-tiny", "init": "random", "train_size": "all", "seed": 0, "dataset": "demo-retina@1"}
    return {"id": run_id, "key": DIGEST, **arm, "state": "succeeded", "attempt": 1, "created_at": NOW}


def dataset_of(state: str) -> dict[str, Any]:
    record = {"id": "d1", "name": "retina@1", "state": state, "task": "ordinal", "spec": {}, "job": "j1"}
    record |= {"reason": "data", "error": "there is no table train.csv"} if state == "failed" else {}
    return {**record, "images": 10, "classes": ["0", "1"], "splits": {"train": 10}, "created_at": NOW}


def comparison_of(state: str) -> dict[str, Any]:
    pair = {"layer_a": "stage1", "layer_b": "stage1", "measure": "cka", "value": 0.5, "n": 100, "p": 8, "q": 8}
    done = state == "succeeded"
    record = {"id": "c1", "key": DIGEST, "state": state, "a": "r1@init", "b": "r1@final", "created_at": NOW}
    layers = {"layers_a": ["stage1"], "layers_b": ["stage1"]} if done else {"layers_a": [], "layers_b": []}
    results = [{**pair, "warnings": ["few samples"]}] if done else []
    return {**record, "probe_set": {"digest": DIGEST, "images": 100}, **layers, "results": results}


def diff_of(against: str) -> dict[str, Any]:
    """What e1 says otherwise than another report; than e3, the same is said, made in another way."""
    row = {"model": "cbr-tiny", "init": "random", "metric": "auroc"}
    changed = [{"before": {**row, "value": 0.71}, "after": {**row, "value": 0.72, "sd": 0.01}}]
    found = {"added": [{**row, "seed": 2, "value": 0.73}], "removed": [{**row, "value": 0.74}], "changed": changed}
    sections = {} if against == "e3" else {"performance": found}
    return {"digest": DIGEST, "against": "e" * 64, "same": False, "sections": sections}


def report_of() -> dict[str, Any]:
    arm = {"model": "cbr-tiny", "init": "random", "train_size": "all"}
    transfer = {**arm, "init": "pretrained", "source": "natural"}
    auroc = {"label": "macro", "metric": "auroc", "n": 2}
    known = {"published": 0.9645, "mark": "t"}
    layered = {"layer": "stage1", "measure": "cka", "value": 0.75, "null_iid": 0.125}
    sections = {
        "performance": section(
            {**arm, **auroc, "value": 0.8125, "sd": 0.0125, "interval": [0.75, 0.875], **known},
            {**transfer, **auroc, "value": None, "reason": "one class only"},
            {**arm, **auroc, "label": "grade 4", "value": 0.1111},
            {**transfer, **auroc, "pair": "pretrained-random", "value": 0.0321, "p_value": 0.04},
        ),
        "similarity": section({"model": "cbr-tiny", "pair": "random-random", "measure": "cca", "value": 0.36}),
        "movement": section(
            {**arm, **layered}, {"model": "cbr-tiny", "metric": "r2", "layer": "stage1", "value": 0.25}
        ),
        "reuse": section({**arm, **layered, "layer": "stage2"}),
        "convergence": section({**arm, "metric": "auroc", "value": 8300.0}, {**arm, "seed": 0, "value": 777.0}),
        "verdict": section(
            {"question": "Does it help?", "answer": "cannot tell", "value": 0.5},
            {"question": "advice", "text": "Take the small one."},
        ),
        "novelty": section({"metric": "question 1", "value": 0.5}, text="Transfer does [not] help."),
    }
    sections["novelty"] |= {"complete": False, "missing": ["r2"]}
    sections["performance"]["charts"] = {"performance": {"mark": "point"}}
    made = {"methods": "Data.", "references": [{"key": "k", "text": "t", "bibtex": "@book{k}"}], "spec": {"name": "n"}}
    return {"schema_version": 1, "experiment": "e1", "digest": DIGEST, "created_at": NOW, "sections": sections, **made}

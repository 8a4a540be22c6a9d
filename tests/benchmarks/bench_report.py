"""How long a report of many runs and layers takes, and how much memory: 200 runs of networks with 60 layers.

Run `python tests/benchmarks/bench_report.py [runs] [layers]`. Results are made up, but as many
and as large as real ones, test scores of 2,000 images included; making them is not timed, holding them is counted. The
limits are 60 s and 2 GiB. Prints seconds per section, the peak of memory, and the size of the report.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from studies import expansion, jobs
from transfusion_core.reporting import build as building
from transfusion_core.reporting.predictions import Predictions
from transfusion_core.specs.comparison import ComparisonResult

MODELS = ["cbr-tiny", "cbr-small", "cbr-large-t", "cbr-large-w", "resnet18"]
INITS: list[Any] = ["random", *({"kind": kind, "source": "natural"} for kind in ("pretrained", "mean_var"))]
IMAGES, STEPS = 2000, 40


def many(runs: int, layers: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A resolved spec and its jobs with results."""
    expanded = expansion(models=MODELS, inits=INITS, seeds=-(-runs // (len(MODELS) * len(INITS))))
    draw = np.random.default_rng(0)
    made = jobs(expanded)
    cells = [job for job in made if job["labels"].get("role") == "cell"]
    for job in cells:
        _fill_run(job, draw)
    for job in made:
        if job["kind"] == "compare":
            _fill_comparison(job["result"], layers, draw)
            job["result"] = ComparisonResult.model_validate(job["result"])
    print(f"{len(cells)} runs, {len(made)} jobs, {layers} layers")
    return expanded.spec.model_dump(mode="json"), made


def _fill_run(job: dict[str, Any], draw: np.random.Generator) -> None:
    truth = (draw.random((IMAGES, 2)) < 0.4).astype(np.float32)
    scores = truth + draw.normal(size=(IMAGES, 2))
    job["predictions"] = Predictions([">=2", ">=1"], scores, truth, np.arange(IMAGES) // 2)
    (curve,) = job["result"]["series"]
    curve["steps"], curve["values"] = [*range(STEPS)], [0.5 + 0.4 * step / STEPS for step in range(STEPS)]


def _fill_comparison(result: dict[str, Any], layers: int, draw: np.random.Generator) -> None:
    names = [f"layer{number}" for number in range(layers)]
    first = result["results"][0]
    places = {(found["layer_a"] == found["layer_b"]) for found in result["results"]}
    pairs = [(a, b) for a in names for b in names] if False in places else [(name, name) for name in names]
    measures = dict.fromkeys(found["measure"] for found in result["results"])
    result["results"] = [
        {**first, "measure": measure, "layer_a": a, "layer_b": b, "value": float(draw.random())}
        for measure in measures
        for a, b in pairs
    ]
    result["layers_a"] = result["layers_b"] = names
    if result["weights"]:
        result["weights"] = [{"layer": name, "relative_l2": 0.5, "cosine": 0.9} for name in names]
        result["between"] = [
            {"step": step, "results": result["results"], "weights": result["weights"]} for step in (9, 30)
        ]


def main(runs: int = 200, layers: int = 60) -> None:
    """Make one report, and tell what it took."""
    experiment, made = many(runs, layers)
    sections = {}

    def timed(name: str, section: Any) -> Any:
        def work(study: Any) -> Any:
            began = time.perf_counter()
            done = section(study)
            sections[name] = time.perf_counter() - began
            return done

        return work

    building.SECTIONS = {name: timed(name, section) for name, section in building.SECTIONS.items()}
    began = time.perf_counter()
    report = building.build(experiment, made)
    text = report.model_dump_json()
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({name: round(seconds, 1) for name, seconds in sections.items()}))
    print(f"{took:.1f} s (limit 60), {peak:.2f} GiB at most (limit 2), {len(text) / 1e6:.1f} MB of JSON")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

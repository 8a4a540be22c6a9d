"""What a run's final weights say of each test image: one small file, written by the run and read by reports."""

import json

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.reporting.predictions import Predictions
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.training.checkpoint import save_checkpoint
from transfusion_core.science.training.metrics import scored
from transfusion_core.specs.dataset import StoredObject
from transfusion_worker.context import JobContext


def put_predictions(context: JobContext, annotations: Annotations, logits: Tensor) -> StoredObject:
    """Store the scores that logits (n, classes) of the test images are, with their truth and their patients."""
    rows = annotations.indices("test")
    told = scored(annotations.task, logits, annotations.labels[rows], classes=annotations.classes)
    tensors = {"rows": rows, "scores": told.scores, "truth": told.truth.float()}
    if annotations.patients is not None:
        tensors["patients"] = annotations.patients[rows]
    path = context.scratch / "predictions.safetensors"
    save_checkpoint(path, tensors, {"labels": json.dumps(told.names)})
    return context.put(path, path.name)


def read_predictions(context: JobContext, stored: StoredObject) -> Predictions:
    """What `put_predictions` stored. Raises DataError for anything else."""
    try:
        with safe_open(context.fetch(stored), framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            labels = json.loads((file.metadata() or {})["labels"])
        return Predictions(labels, tensors["scores"].astype(np.float64), tensors["truth"], tensors.get("patients"))
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"expected the scores of a run at {stored.key}, got {error!r}") from error

"""Job functions that do nothing, for measuring what the platform itself costs; their results have the right shapes."""

from typing import Any

from transfusion_core.specs.dataset import IngestResult, StoredObject
from transfusion_worker.context import JobContext

_NOWHERE = StoredObject(key="nothing", size_bytes=1, sha256="0" * 64)
_CHECKPOINTS = [{"step": 0, "name": "init"}, {"step": 2, "name": "final"}]


def ingest(context: JobContext) -> dict[str, Any]:
    """A dataset that nobody will look into."""
    found = IngestResult(
        digest="d",
        task="ordinal",
        images=2000,
        classes=[str(grade) for grade in range(5)],
        splits={"train": 1400, "val": 200, "test": 400},
        channels=3,
        resolutions={"64x64": 2000},
        annotations=_NOWHERE,
        pack=[_NOWHERE],
        manifest=_NOWHERE,
    )
    return found.model_dump(mode="json")


def train(context: JobContext) -> dict[str, Any]:
    """A training that learned nothing."""
    return {
        "metrics": {"test": {"auroc": 0.5}},
        "checkpoints": [{**each, "bytes": 1, "sha256": "0" * 64, "key": "nothing"} for each in _CHECKPOINTS],
        "manifest": {},
        "weight_report": {"key": "nothing"},
    }


def other(context: JobContext) -> dict[str, Any]:
    """Anything else."""
    return {"complete": True}


KINDS = {
    "ingest": ingest,
    "train": train,
    **dict.fromkeys(("pixels", "moments", "compare", "profile", "probe", "barrier", "report"), other),
}

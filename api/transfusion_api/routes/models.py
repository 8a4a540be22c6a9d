"""The catalogue: models, presets and the schemas of what can be written and read. It does not change while we run."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from transfusion_api.answers import Cursor, Filter, Id, Limit, Page
from transfusion_api.auth import needs
from transfusion_api.problems import documented
from transfusion_core.errors import NotFound
from transfusion_core.specs.combining import CombineSpec
from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.fault import nearest
from transfusion_core.specs.model import ModelEntry, catalogue
from transfusion_core.specs.presets import PRESETS, provenance_of
from transfusion_core.specs.report import Report

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[needs("read")])
SCHEMAS: dict[str, type[BaseModel]] = {
    "experiment": ExperimentSpec,
    "combine": CombineSpec,
    "dataset": DatasetSpec,
    "comparison": ComparisonSpec,
    "report": Report,
}


@router.get("/models", responses=documented())
def list_models(limit: Limit = 50, cursor: Cursor = None, family: Filter = None) -> Page[ModelEntry]:
    """Models by name, with stages, layers and parameter counts."""
    entries = [entry for _, entry in sorted(catalogue().items()) if family in (None, entry.family)]
    rest = [entry for entry in entries if cursor is None or entry.name > cursor]
    following = rest[limit - 1].name if len(rest) > limit else None
    return Page[ModelEntry](items=rest[:limit], next=following)


@router.get("/models/{name}", responses=documented(404))
def get_model(name: Id) -> ModelEntry:
    """One model."""
    if name not in catalogue():
        close = nearest(name, catalogue())
        raise NotFound(f"there is no model {name!r}" + (f"; did you mean {close!r}?" if close else ""))
    return catalogue()[name]


@router.get("/presets", responses=documented())
def list_presets() -> Page[dict[str, Any]]:
    """Presets: experiment specs with the dataset left open, each with the `preset`'s name; those that train by the
    paper's recipe say in `provenance` how sure each setting is, and what no source states.
    """
    return Page[dict[str, Any]](items=[_preset(name) for name in PRESETS])


def _preset(name: str) -> dict[str, Any]:
    known = provenance_of(name)
    told = {"provenance": known.model_dump(mode="json")} if known else {}
    return {"preset": name, "spec": PRESETS[name], **told}


@router.get("/presets/{name}", responses=documented(404))
def get_preset(name: Id) -> dict[str, Any]:
    """One preset: add a `dataset` and post it."""
    if name not in PRESETS:
        raise NotFound(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


@router.get("/schemas/{name}", responses=documented())
def get_schema(name: Literal["experiment", "combine", "dataset", "comparison", "report"]) -> dict[str, Any]:
    """JSON Schema with defaults: of specs as they are written, of the report as it is read."""
    return SCHEMAS[name].model_json_schema(mode="serialization" if name == "report" else "validation")

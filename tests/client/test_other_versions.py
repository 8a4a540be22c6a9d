"""Services of other versions: what the minor version before answered is read, what newer ones add is not minded."""

import json
from dataclasses import is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from transfusion_client.catalogue import Document, WeightsFile
from transfusion_client.client import Client
from transfusion_client.connection import Connection
from transfusion_client.keys import AuditEvent, Key, NewKey
from transfusion_client.reports import Report
from transfusion_client.runs import Checkpoint
from transfusion_client.sending import Link, Upload
from transfusion_core.specs.comparison import Comparison
from transfusion_core.specs.dataset import Dataset
from transfusion_core.specs.experiment import Experiment, Plan, Run
from transfusion_core.specs.manifest import DatasetDiff, PatientSalt
from transfusion_core.specs.model import ModelEntry
from transfusion_core.specs.profile import ClassSamples, DatasetProfile
from transfusion_core.specs.removal import Removal, RemovedObject
from transfusion_core.specs.report import ReportDiff, ReportSection, ReportVersion
from transfusion_core.specs.training import Filters, Series

RECORDED = Path(__file__).parent / "recorded"
"""Answers of each minor version, shortened (the API's examples at that time). Never changed; one more with each."""
READ: dict[str, tuple[Any, str]] = {
    **{model.__name__: (model, "") for model in (AuditEvent, ClassSamples, Comparison, Dataset, DatasetDiff)},
    **{model.__name__: (model, "") for model in (DatasetProfile, Document, Experiment, Key, ModelEntry, NewKey)},
    **{model.__name__: (model, "") for model in (PatientSalt, Plan, Removal, RemovedObject, Report, ReportDiff)},
    **{model.__name__: (model, "") for model in (ReportSection, ReportVersion, Run, Upload, WeightsFile)},
    "CheckpointLink": (Checkpoint, ""),
    "PartLink": (Link, ""),
    "RunFilters": (Filters, "filters"),
    "RunMetrics": (list[Series], "series"),
}
"""As what the client reads each answer, and which part of it."""
AS_IT_COMES = {"Health", "Readiness", "RunLog", "Manifest"}


def recorded(minor: str) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((RECORDED / f"{minor}.json").read_text())
    return answers


def minor_versions() -> list[str]:
    """This one, and the one before."""
    major, minor = map(int, version("transfusion").split(".")[:2])
    return [f"{major}.{minor}", *([f"{major}.{minor - 1}"] if minor > 1 else [])]


@pytest.fixture
def connection(client: Client) -> Connection:
    return client._connection


def of(answers: dict[str, Any], name: str) -> Any:
    part = READ[name][1]
    return answers[name][part] if part else answers[name]


@pytest.mark.parametrize("minor", minor_versions())
def test_what_a_service_of_that_version_answered_is_read(connection: Connection, minor: str) -> None:
    answers = recorded(minor)
    assert set(answers) - AS_IT_COMES <= set(READ)
    for name in set(answers) - AS_IT_COMES:
        connection.read(READ[name][0], of(answers, name))


@pytest.mark.parametrize("name", sorted(READ))
def test_what_a_newer_service_adds_is_not_minded(connection: Connection, name: str) -> None:
    model, answer = READ[name][0], of(recorded(minor_versions()[0]), name)
    read = connection.read(model, answer)
    assert connection.read(model, grown(answer, read)) == read


def grown(answer: Any, read: Any) -> Any:
    """The answer with one more field in each record; what is a table by names stays as it is."""
    if isinstance(read, BaseModel) or is_dataclass(read):
        inner = {key: grown(value, getattr(read, key, None)) for key, value in answer.items()}
        return {**inner, "of_a_newer_service": 1}
    if isinstance(read, list):
        return [grown(each, one) for each, one in zip(answer, read, strict=True)]
    if isinstance(read, dict):
        return {key: grown(answer[key], one) for key, one in read.items()}
    return answer

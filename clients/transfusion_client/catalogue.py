"""What a service offers to build specs from: models, presets, schemas, source weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfusion_client.connection import Connection
from transfusion_client.sending import Sent
from transfusion_client.uploads import location_of
from transfusion_core.specs.base import Record
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.model import ModelEntry


class WeightsFile(Record):
    """A named weight file."""

    name: str
    sha256: str
    size_bytes: int
    input: InputContract | None = None
    """What the network expects of its images, where that is known."""
    created_at: str | None = None


class Weights:
    """The source weights of a service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, name: str, path: str | Path, *, input: dict[str, Any] | None = None, sent: Sent | None = None
    ) -> WeightsFile:
        """Name a weight file of this machine, or at a location that the service knows (`s3://...`, `upload:ID`).

        `input`: what the network expects of its images, as `{"mean": [...], "std": [...], "size": 224}`. `sent` is
        called with how many bytes of a large file have arrived, and of how many.
        """
        known = str(path).startswith(("s3://", "upload:", "file:///"))
        location = str(path) if known else location_of(self._connection, Path(path), sent=sent)
        body = {"name": name, "location": location} | ({"input": input} if input else {})
        answer = self._connection.post("/v1/weights", body)
        return self._connection.read(WeightsFile, answer)

    def list(self) -> Iterator[WeightsFile]:
        """Every named weight file."""
        return (self._connection.read(WeightsFile, item) for item in self._connection.pages("/v1/weights"))


class Models:
    """The models that specs can name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Iterator[ModelEntry]:
        """Every model, with stages, layers and parameter counts."""
        return (self._connection.read(ModelEntry, item) for item in self._connection.pages("/v1/models"))

    def get(self, name: str) -> ModelEntry:
        """One model; NotFound says the nearest name."""
        return self._connection.read(ModelEntry, self._connection.get(f"/v1/models/{name}"))


class Presets:
    """Experiment specs with the dataset left open."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Iterator[dict[str, Any]]:
        """Every preset: `preset`, its name, and `spec`; `provenance` where it trains by the paper's recipe."""
        return self._connection.pages("/v1/presets")

    def get(self, name: str) -> dict[str, Any]:
        """One preset's spec: set its `dataset`, and create it."""
        spec: dict[str, Any] = self._connection.get(f"/v1/presets/{name}")
        return spec


class Schemas:
    """What can be written and read, as JSON Schema with defaults."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> dict[str, Any]:
        """One schema: `experiment`, `combine`, `dataset`, `comparison` or `report`."""
        schema: dict[str, Any] = self._connection.get(f"/v1/schemas/{name}")
        return schema


class Document(Record):
    """A document, notebook or picture that the service brings."""

    name: str
    size_bytes: int


class Documents:
    """The documents of a service, which fit its version."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Iterator[Document]:
        """Every document."""
        return (self._connection.read(Document, item) for item in self._connection.pages("/v1/documents"))

    def get(self, name: str) -> str:
        """One as text: Markdown, a notebook, a picture."""
        return self._connection.text(f"/v1/documents/{name}")

"""Shapes of answers that only the API has: pages of lists, curves, logs, uploads, API keys."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import Field

from transfusion_core import __version__
from transfusion_core.specs.base import Name, Record, Spec
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.dataset import Location
from transfusion_core.specs.job import State
from transfusion_core.specs.quota import Account, Quota
from transfusion_core.specs.training import Filters, Series

Item = TypeVar("Item")
Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before")]
Id = Annotated[str, Path(max_length=128)]
Filter = Annotated[str | None, Query(max_length=200)]
StateFilter = Annotated[State | None, Query()]


class Page(Record, Generic[Item]):
    """Some items of a list, and where the next ones begin."""

    items: list[Item]
    next: str | None = None
    """Cursor of the next page; null on the last."""


class RunMetrics(Record):
    """A run's curves."""

    series: list[Series]


class RunLog(Record):
    """A run's log, the oldest line first."""

    lines: list[str]


class RunFilters(Record):
    """What the first layer of a run sees, before and after its training."""

    filters: Filters | None
    reason: str | None = None
    """Why there are none."""


class CheckpointLink(Record):
    """A checkpoint and where to download it."""

    step: int
    name: str
    bytes: int
    sha256: str
    url: str
    """Signed for 15 minutes, or a route of this API that takes the same key."""


class Manifest(Record):
    """Where a run's numbers come from."""

    manifest: dict[str, Any] | None


class PartRequest(Spec):
    """A part that will be sent."""

    number: int = Field(ge=1, le=10_000)
    """Counted from 1."""
    md5: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]{22}==$")
    """Of its bytes, base64; bytes of another one are refused."""


class PartsRequest(Spec):
    """Parts that will be sent now."""

    parts: list[PartRequest] = Field(min_length=1, max_length=100)


class PartLink(Record):
    """Where to send the bytes of a part."""

    number: int
    url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str] = {}
    """To be sent with the bytes. A url of this API takes the API key besides."""
    size_bytes: int


class Completion(Spec):
    """What was sent."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the whole file."""


class UploadRequest(Spec):
    """A file that will be uploaded."""

    filename: Name
    size_bytes: int = Field(ge=1, le=2**53)


class Upload(Record):
    """Where to send the bytes; afterwards the location `upload:ID` stands for them."""

    id: str
    url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str] = {}
    """To be sent with the bytes. A url of this API takes the API key besides."""
    size_bytes: int
    state: str
    part_bytes: int
    """A larger file may be sent in parts of this size, the last one smaller: `parts`, then `complete`."""
    received: list[int] = []
    """Numbers of the parts that are there."""


class WeightsRequest(Spec):
    """A weight file to be named."""

    name: Name
    location: Location
    input: InputContract | None = None
    """What the network expects of its images; left out, it is looked for in a safetensors file's metadata `input`."""


class WeightsFile(Record):
    """A named weight file."""

    name: str
    sha256: str
    size_bytes: int
    input: InputContract | None = None
    """What the network expects of its images, where that is known."""
    created_at: str


class KeyRequest(Spec):
    """An API key to be made."""

    name: str = Field(min_length=1, max_length=128)
    role: Literal["read", "write", "admin"] = "read"
    project: Name | None = None
    """Keys of one project share all that they make. Without it the key has a project of its own, named by its id."""
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)
    quota: Quota | None = None
    """What it may use at most; a key without one is not limited."""


class Key(Record):
    """An API key, without its secret."""

    id: str
    name: str
    role: str
    project: str
    created_at: str
    expires_at: str | None = None
    account: Account | None = None
    """Its quota, and what is used of it."""


class NewKey(Key):
    """An API key, with its secret: shown once."""

    key: str


class AuditEvent(Record):
    """A deed: who did what, and when."""

    id: str
    at: str
    actor: str
    """Id of the API key; `local` for the service itself, and in embedded mode."""
    project: str
    action: str
    subject: str
    request_id: str | None


class Document(Record):
    """A document, or a picture or notebook of theirs."""

    name: str
    """Its path, as links between documents name it."""
    size_bytes: int


class Health(Record):
    """Whether a part of the service answers."""

    status: Literal["ok"] = "ok"
    mode: Literal["embedded", "service"]
    version: str = __version__


class Readiness(Health):
    """That the service can do its work, and what of it deserves a look all the same."""

    parts: list["Part"]


class Part(Record):
    """A part of the service."""

    name: Literal["database", "store", "broker", "queue", "disk"]
    well: bool
    """Where not, the service does its work, but slower or not for long."""
    found: str

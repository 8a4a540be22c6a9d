"""Every input of the corpus meets the code that would open it, and gets its error: nothing runs, escapes or hangs."""

import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from corpus import MARK, Case, archives, dicoms, images, locations, manifests, names, specs, weights
from packs import Shelf
from transfusion_api.app import create_app
from transfusion_core.db.engine import connect, migrate
from transfusion_core.errors import DataError, InvalidRequest
from transfusion_core.science.answering import Refused
from transfusion_core.science.apart import environment
from transfusion_core.science.data.archive import Archive, Limits
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.images import UnreadableImage
from transfusion_core.science.data.ingest import ingest
from transfusion_core.science.data.readers.csv_manifest import list_manifest
from transfusion_core.science.data.tree import open_tree
from transfusion_core.science.inits.fetching import checked_addresses
from transfusion_core.science.inits.source_errors import SourceUnreadable
from transfusion_core.science.inits.sources import load_weights
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import ColumnsSpec, DatasetSpec
from transfusion_core.store.protocol import check_key

SETS: dict[str, Callable[[], list[Case]]] = {
    "names": names.named,
    "store keys": names.store_keys,
    "API keys": names.api_keys,
    "locations": locations.urls,
    "hosts": locations.hosts,
    "specs": specs.bodies,
    "archives": archives.archives,
    "images": images.images,
    "DICOM": dicoms.dicoms,
    "weights": weights.weights,
    "pickles": weights.pickles,
    "rows": manifests.rows,
    "tables": manifests.tables,
}


@pytest.fixture(autouse=True)
def _nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob(MARK)), "an input was executed"


def meet(
    cases: list[Case], use: Callable[[Any], object], refusals: type[Exception] | tuple[type[Exception], ...]
) -> None:
    """`use` every case; all that do not end with their error are told at once."""
    wrong = []
    for case in cases:
        try:
            taken = use(case.make())
        except refusals as error:
            if not re.search(case.error, str(error)):
                wrong.append(f"{case.name}: {str(error)[:200]}")
        else:
            wrong.append(f"{case.name}: was taken: {str(taken)[:100]}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases)}", *wrong])


class Answered(Exception):
    """A service's answer that is a refusal."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    engine = connect(f"sqlite:///{tmp_path}/api.db")
    migrate(engine)
    engine.dispose()
    opened: list[TestClient] = []

    def make(**more: Any) -> TestClient:
        settings = Settings(
            database_url=f"sqlite:///{tmp_path}/api.db",
            store_url=f"file://{tmp_path}/store",
            **{"mode": "embedded", **more},
        )
        address: dict[str, Any] = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 50000)}
        opened.append(TestClient(create_app(settings), **address).__enter__())
        return opened[-1]

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def refused(answer: Any, statuses: tuple[int, ...] = (422,)) -> object:
    """Raises the answer where it is a problem of one of these statuses."""
    if answer.status_code in statuses and answer.headers["content-type"].startswith("application/problem+json"):
        raise Answered(json.dumps(answer.json()))
    return answer.status_code, answer.text[:200]


def test_the_corpus_has_a_thousand_inputs_and_each_has_a_name_of_its_own() -> None:
    made = {kind: [case.name for case in cases()] for kind, cases in SETS.items()}
    assert all(len(set(named)) == len(named) for named in made.values())
    assert sum(map(len, made.values())) >= 1000
    assert len(made) == 13


def test_names_that_are_no_names_are_refused_wherever_a_name_is_taken(client: Callable[..., TestClient]) -> None:
    service, spec = client(), json.loads(specs._body("/seeds", 1))

    def post(field_and_name: tuple[str, str]) -> object:
        field, name = field_and_name
        path, body = {
            "dataset": ("/v1/datasets", {"name": name, "kind": "recipe", "recipe": {"name": "demo-retina"}}),
            "weights": ("/v1/weights", {"name": name, "location": "upload:x"}),
            "upload": ("/v1/uploads", {"filename": name, "size_bytes": 1}),
            "source": ("/v1/experiments/plan", spec | {"sources": {name: {"timm": "default"}}}),
        }[field]
        return refused(service.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"}))

    meet(names.named(), post, Answered)
    assert service.get("/v1/datasets").json()["items"] == []


def test_keys_that_are_no_keys_of_a_store_are_refused() -> None:
    meet(names.store_keys(), check_key, InvalidRequest)


def test_made_up_api_keys_open_nothing(client: Callable[..., TestClient]) -> None:
    service = client(mode="service", admin_key="tf_admin_" + "0" * 64)

    def get(key: str) -> object:
        return refused(service.get("/v1/experiments", headers={"Authorization": key.encode("latin-1")}), (401,))

    meet(names.api_keys(), get, Answered)


def test_locations_outside_of_what_is_allowed_are_refused_and_no_host_is_looked_up(
    client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = client(allowed_locations=[locations.ALLOWED])
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *host, **_: asked.append(host))
    monkeypatch.setattr(socket, "create_connection", lambda *host, **_: asked.append(host))

    def post(location: str) -> object:
        body = json.dumps({"name": "d", "kind": "folder", "location": location})
        return refused(service.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"}))

    meet(locations.urls(), post, Answered)
    assert asked == []


def test_hosts_that_stand_for_no_address_of_the_open_internet_are_refused() -> None:
    meet(locations.hosts(), lambda host: checked_addresses(host, 80), OSError)


def test_specs_with_code_references_and_wrong_kinds_are_refused(client: Callable[..., TestClient]) -> None:
    service = client()
    headers = {"Content-Type": "application/json"}
    meet(
        specs.bodies(),
        lambda body: refused(service.post("/v1/experiments/plan", content=body, headers=headers), (422, 413)),
        Answered,
    )


def test_archives_that_lie_climb_link_or_explode_are_refused(tmp_path: Path) -> None:
    limits = Limits(files=1000)

    def read(data: bytes) -> object:
        opened = Archive(io.BytesIO(data), limits)
        return [b"".join(opened.pieces(name)) for name in opened.sizes()]

    meet(archives.archives(), read, Refused)
    assert list(tmp_path.iterdir()) == []


def test_a_process_apart_refuses_them_for_the_one_that_asks(tmp_path: Path) -> None:
    """One of every ten, since each takes a process."""
    path = tmp_path / "hostile.zip"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        with open_tree(path, limits=Limits(files=1000)) as tree:
            return tree.files()

    meet(archives.archives()[::10], read, DataError)
    assert [each.name for each in tmp_path.iterdir()] == ["hostile.zip"]


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders() as made:
        yield made


def test_images_that_are_broken_lie_or_are_none_are_refused(decoders: Decoders) -> None:
    meet(images.images(), decoders.clean, UnreadableImage)


def test_dicom_files_that_are_broken_lie_or_hide_text_are_refused(decoders: Decoders) -> None:
    meet(dicoms.dicoms(), decoders.clean, UnreadableImage)


def test_weight_files_that_lie_or_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights"

    def load(data: bytes) -> object:
        path.write_bytes(data)
        return load_weights(path)

    meet(weights.weights(), load, SourceUnreadable)


PICKLES = """
import io, json, sys
from transfusion_core.science.inits.unpickle import tensors_of
for line in sys.stdin:
    data = bytes.fromhex(line)
    try:
        print(json.dumps(["taken", repr(tensors_of(io.BytesIO(data), size_bytes=len(data)))]))
    except Exception as error:
        print(json.dumps(["refused", str(error)]))
"""


def test_pickles_that_call_anything_are_refused(tmp_path: Path) -> None:
    """By the child's own reader; that it is shut in besides is for `test_unpickle.py`."""
    cases = weights.pickles()
    lines = "\n".join(case.make().hex() for case in cases)
    command = [sys.executable, "-P", "-c", PICKLES]
    ended = subprocess.run(
        command, input=lines, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=120, check=True
    )
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(told) == len(cases)
    wrong = [
        case.name
        for case, (how, text) in zip(cases, told, strict=True)
        if how != "refused" or not re.search(case.error, text)
    ]
    assert not wrong, told


def test_rows_that_cannot_be_used_are_told_with_their_number(tmp_path: Path) -> None:
    for name in ("good.png", "a.png"):
        (tmp_path / name).write_bytes(b"x")

    def read(row: tuple[str, str]) -> object:
        quoted = ",".join('"{}"'.format(cell.replace('"', '""')) for cell in row)
        (tmp_path / "labels.csv").write_text(f"file,label\ngood.png,0\n{quoted}\n", "utf-8", newline="")
        with open_tree(tmp_path) as tree:
            listing = list_manifest(tree, manifest=None, columns=ColumnsSpec(), task="ordinal")
        if listing.faults:
            (fault,) = listing.faults
            assert fault.file.isprintable()
            raise DataError(f"row {fault.row}: {fault.message}")
        return listing.samples

    meet(manifests.rows(), read, DataError)


def test_tables_that_are_no_manifests_are_told(tmp_path: Path) -> None:
    spec = DatasetSpec.model_validate({"name": "d", "kind": "csv", "location": "upload:x"}).resolved()

    def read(data: bytes) -> object:
        (tmp_path / "labels.csv").write_bytes(data)
        return ingest(spec, source=tmp_path, keep=Shelf())

    meet(manifests.tables(), read, DataError)

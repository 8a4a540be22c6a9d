"""Datasets in the user's own bucket, through API and worker: what may be read, with whose credentials, and what not."""

from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s3_server import KEY, SECRET, TOOL, shared_s3
from transfusion_core.settings import AllowedLocation
from transfusion_core.store.s3 import s3_client
from worker_bench import Bench
from worker_service import Platform, platform_of

BUCKET = "hospital"
MANY = 60


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a bucket of labelled images."""
    if not TOOL.exists():
        pytest.skip(f"no S3 server to start: {TOOL} is missing")
    folder = tmp_path_factory.mktemp("bucket")
    found = shared_s3()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        client = s3_client(found, region="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        random = np.random.default_rng(0)
        for number in range(MANY):
            image = folder / "image.png"
            Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8)).save(image)
            client.upload_file(str(image), BUCKET, f"eyes/{number % 2}/{number} ä.png")
        client.put_object(Bucket=BUCKET, Key="secret/notes.txt", Body=b"not yours")
        yield found


@pytest.fixture(scope="module")
def fork_server(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Jobs have the environment that their fork server began with: here it names a file of credentials, nothing else.

    One for the file, as each takes seconds to start; and none of another file's tests before it or after.
    """
    file = tmp_path_factory.mktemp("credentials") / "credentials"
    file.write_text(
        f"[hospital]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
        f"[wrong]\naws_access_key_id = {KEY}\naws_secret_access_key = no\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        _end_fork_server()
        yield
        _end_fork_server()


def _end_fork_server() -> None:
    server: Any = forkserver._forkserver
    server._stop()


@pytest.fixture
def platform(bench: Bench, endpoint: str, fork_server: None) -> Iterator[Platform]:
    """Reads `eyes/` of the bucket, with credentials that a file of its own has under a name."""
    places = [(f"s3://{BUCKET}/eyes", "hospital"), ("s3://locked", "wrong"), ("s3://nobody", "nobody")]
    allowed = [AllowedLocation(prefix=prefix, endpoint_url=endpoint, profile=profile) for prefix, profile in places]
    bench.settings = bench.settings.model_copy(update={"allowed_locations": allowed})
    with platform_of(bench) as made:
        yield made


def _spec(location: str) -> dict[str, Any]:
    return {"name": "eyes", "kind": "folder", "task": "multiclass", "location": location}


def test_a_folder_of_a_bucket_is_ingested_and_its_credentials_are_in_no_answer(
    platform: Platform, bench: Bench
) -> None:
    found = platform.add(**_spec(f"s3://{BUCKET}/eyes/"))
    assert (found["state"], found["images"], found["classes"]) == ("succeeded", MANY, ["0", "1"]), found["error"]
    log = platform.ask("GET", "/v1/datasets/eyes@1/profile").text
    assert SECRET not in log
    assert SECRET not in "".join(platform.answers)
    assert SECRET not in (bench.folder / "database.db").read_bytes().decode("latin-1")
    again = platform.ask("POST", "/v1/datasets", _spec(f"s3://{BUCKET}/eyes/"))
    assert (again.status_code, again.json()["name"]) == (200, "eyes@1")


@pytest.mark.parametrize(
    "location", [f"s3://{BUCKET}/", f"s3://{BUCKET}/secret/", f"s3://{BUCKET}/eyes/../secret", "s3://elsewhere/eyes"]
)
def test_what_is_not_allowed_is_refused_at_the_post(platform: Platform, location: str) -> None:
    answer = platform.ask("POST", "/v1/datasets", _spec(location))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/location"
    assert platform.ask("GET", "/v1/datasets").json()["items"] == []


@pytest.mark.parametrize(
    ("location", "told"),
    [
        (f"s3://{BUCKET}/eyes/9/", "nothing"),
        ("s3://locked/eyes/", "s3://locked/eyes"),
        ("s3://nobody/eyes/", "no credentials of the name 'nobody'"),
    ],
)
def test_what_cannot_be_read_fails_with_the_reason(platform: Platform, location: str, told: str) -> None:
    found = platform.add(**_spec(location))
    assert found["state"] == "failed"
    assert told in found["error"]
    assert SECRET not in found["error"]


def test_a_bucket_that_is_gone_is_told(platform: Platform, tmp_path: Path) -> None:
    found = platform.add(**_spec(f"s3://{BUCKET}/eyes/0"))
    assert found["state"] == "failed"

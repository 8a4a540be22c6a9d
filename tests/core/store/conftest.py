from collections.abc import Iterator
from pathlib import Path

import pytest

from s3_server import KEY, SECRET, TOOL, shared_s3
from small_disk import SmallDisk, small_disk
from transfusion_core.settings import Settings
from transfusion_core.store import Store, open_store


@pytest.fixture(scope="session")
def s3_endpoint() -> str:
    if not TOOL.exists():
        pytest.skip(f"no S3 server to start: {TOOL} is missing")
    return shared_s3()


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def s3_settings(s3_endpoint, credentials, request) -> Settings:
    bucket = "b" + "".join(filter(str.isalnum, request.node.name)).lower()[:50]
    return Settings(
        store_url=f"s3://{bucket}/some/prefix",
        s3_endpoint_url=s3_endpoint,
        s3_public_endpoint_url=s3_endpoint.replace("127.0.0.1", "localhost"),
    )


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        yield disk


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(Settings(store_url=f"file://{tmp_path}/store"))
    return open_store(request.getfixturevalue("s3_settings"))

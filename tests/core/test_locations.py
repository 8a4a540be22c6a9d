"""Files and buckets that may be read, and all that look like them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from transfusion_core.errors import StoreError
from transfusion_core.locations import LocationRefused, in_bucket, local
from transfusion_core.settings import AllowedLocation, Settings
from transfusion_core.store.s3 import _stay, s3_client


def embedded(**more: Any) -> Settings:
    return Settings(mode="embedded", **more)


def test_a_file_is_found_with_its_links_followed(tmp_path: Path) -> None:
    (tmp_path / "some data.npz").touch()
    (tmp_path / "link").symlink_to(tmp_path / "some data.npz")
    for name in ("some%20data.npz", "link", "../" + tmp_path.name + "/link"):
        assert local(embedded(), f"file://{tmp_path}/{name}") == (tmp_path / "some data.npz").resolve()


def test_a_service_reads_no_file_of_its_machine(tmp_path: Path) -> None:
    with pytest.raises(LocationRefused, match="embedded mode"):
        local(Settings(mode="service"), tmp_path.as_uri())


def test_links_lead_nowhere_outside_of_the_roots(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root" / "circle")
    (tmp_path / "way").symlink_to(tmp_path / "root")
    settings = embedded(file_roots=[tmp_path / "root"])
    assert local(settings, f"file://{tmp_path}/way") == (tmp_path / "root").resolve()
    for name in ("secret", "root/link", "root/out/secret", "root/../secret", "root/out", "rooted"):
        with pytest.raises(LocationRefused, match="outside the folders"):
            local(settings, f"file://{tmp_path}/{name}")
    with pytest.raises(LocationRefused, match=r"no path of a file|no such file"):
        local(settings, f"file://{tmp_path}/root/circle")


@pytest.mark.parametrize(
    "path", ["/proc/self/environ", "/proc/self/root/etc", "/dev/zero", "/sys/kernel", "/dev/../proc/1"]
)
def test_the_kernels_own_files_are_no_data(path: str) -> None:
    with pytest.raises(LocationRefused, match="no place for data"):
        local(embedded(), f"file://{path}")


def test_a_pipe_is_no_data(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LocationRefused, match="no such file"):
        local(embedded(), f"file://{tmp_path}/pipe")


def test_a_bucket_is_read_by_the_rules_of_its_location() -> None:
    open_images = {"prefix": "s3://open/public/", "endpoint_url": "https://s3.example", "profile": "hospital"}
    settings = embedded(allowed_locations=["s3://plain", open_images])
    assert settings.allowed_locations[0] == AllowedLocation(prefix="s3://plain")
    found = in_bucket(settings, "s3://open/public/set/")
    assert (found.bucket, found.key, found.allowed.profile) == ("open", "public/set/", "hospital")
    assert in_bucket(settings, "s3://plain").key == ""
    for location in ("s3://open/private/x", "s3://open", "s3://plainer/x", "s3://open/publicity/x"):
        with pytest.raises(LocationRefused, match="below an allowed one"):
            in_bucket(settings, location)


def test_credentials_in_an_endpoint_are_refused_without_being_repeated() -> None:
    for field in ("s3_endpoint_url", "s3_public_endpoint_url"):
        with pytest.raises(ValidationError, match="credentials do not belong") as caught:
            Settings(**{field: "https://user:planted@s3.example"})
        assert "planted" not in str(caught.value)
    settings = Settings(database_url="postgresql://u:planted@h/d", broker_url="redis://:planted@h")
    assert "planted" not in repr(settings)


@pytest.mark.parametrize(
    ("endpoint", "url", "goes"),
    [
        (None, "https://bucket.s3.eu-central-1.amazonaws.com/key", True),
        (None, "https://s3.cn-north-1.amazonaws.com.cn/bucket", True),
        (None, "http://169.254.169.254/latest", False),
        (None, "https://amazonaws.com.evil.example/x", False),
        (None, "https://evilamazonaws.com/x", False),
        ("s3.example", "https://s3.example/bucket/key", True),
        ("s3.example", "https://bucket.s3.amazonaws.com/key", False),
        ("s3.example", "http://127.0.0.1/key", False),
    ],
)
def test_a_client_speaks_to_nobody_but_its_endpoint_or_amazon(endpoint: str | None, url: str, goes: bool) -> None:
    request = SimpleNamespace(url=url)
    if goes:
        _stay(endpoint, request)
        return
    with pytest.raises(StoreError, match="which nobody allowed"):
        _stay(endpoint, request)


def test_every_request_of_a_client_is_looked_at_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    client = s3_client("http://127.0.0.1:9", region="us-east-1")
    client.meta.events.register_first(
        "before-send.s3", lambda request, **_: setattr(request, "url", "http://10.0.0.1/")
    )
    with pytest.raises(StoreError, match="redirects to '10"):
        client.head_bucket(Bucket="bucket")

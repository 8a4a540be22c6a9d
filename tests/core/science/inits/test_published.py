"""timm's tags from a mirror folder, from a hub on this machine, and from nowhere."""

import hashlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import bad_weights
from transfusion_core.science.inits import fetching, published
from transfusion_core.science.inits.published import timm_weights
from transfusion_core.science.inits.source_errors import SourceUnreachable, SourceUnreadable
from transfusion_core.science.models.build import build_random

TAG = "test_resnet.r160_in1k"


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test asks the real hub or finds what this machine once fetched."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def weights(tag: str = TAG) -> dict[str, torch.Tensor]:
    return dict(build_random(tag.partition(".")[0], classes=1000, image_size=160, seed=5).state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_published_weights_come_from_a_mirror_folder_with_their_digest(mirror: Path) -> None:
    path = bad_weights.safe(mirror / f"{TAG}.safetensors", weights())
    found = timm_weights(TAG, mirror=mirror)
    assert same(found.tensors, weights())
    assert (found.sha256, found.file) == (digest(path), path)


def test_a_mirrored_torch_file_is_told_by_its_own_digest_not_the_converted_ones(mirror: Path) -> None:
    torch.save({"state_dict": weights()}, mirror / f"{TAG}.pth")
    found = timm_weights(TAG, mirror=mirror)
    assert same(found.tensors, weights())
    assert found.sha256 == digest(mirror / f"{TAG}.pth")


def test_a_mirrored_torch_file_with_code_does_not_run(mirror: Path, tmp_path: Path) -> None:
    bad_weights.code(mirror / f"{TAG}.pth", creates=tmp_path / "ran")
    with pytest.raises(SourceUnreadable, match="without running code"):
        timm_weights(TAG, mirror=mirror)
    assert not (tmp_path / "ran").exists()


def test_published_positions_are_fitted_to_the_image_size(mirror: Path) -> None:
    bad_weights.safe(mirror / "test_vit.r160_in1k.safetensors", weights("test_vit.r160_in1k"))
    found = timm_weights("test_vit.r160_in1k", image_size=32, mirror=mirror)
    assert found.tensors["pos_embed"].shape == (1, 5, 64)


def test_what_the_mirror_holds_broken_is_an_error_and_not_fetched_instead(mirror: Path) -> None:
    (mirror / f"{TAG}.safetensors").write_bytes(b"broken")
    with pytest.raises(SourceUnreadable, match=r"test_resnet\.r160_in1k\.safetensors: expected safetensors"):
        timm_weights(TAG, mirror=mirror)


def test_a_mirrored_file_of_another_network_is_told_with_its_names(mirror: Path) -> None:
    bad_weights.safe(mirror / f"{TAG}.safetensors", {f"layer{number}": torch.zeros(1) for number in range(300)})
    with pytest.raises(SourceUnreadable, match=r"expected the tensors of that network, got others: .*conv1") as caught:
        timm_weights(TAG, mirror=mirror)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("tag", ["cbr-tiny.a1_in1k", "../../etc/passwd", "resnet50./../../etc/x", "resnet50.a b", ""])
def test_a_tag_of_no_architecture_is_an_error(tag: str) -> None:
    with pytest.raises(SourceUnreachable, match="timm has no architecture"):
        timm_weights(tag)


def test_without_network_and_mirror_the_error_says_what_would_help(mirror: Path) -> None:
    with pytest.raises(SourceUnreachable) as caught:
        timm_weights(TAG)
    needed = f"the weights '{TAG}' need the network, or a weights folder with {TAG}.safetensors or .pth"
    assert f"{needed}: none is set (TRANSFUSION_WEIGHTS_DIR) (" in str(caught.value)
    with pytest.raises(SourceUnreachable, match=f"{mirror} has none"):
        timm_weights(TAG, mirror=mirror)


def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(published.httpx2, "head", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(SourceUnreachable, match="need the network"):
        timm_weights(TAG)


def test_a_tag_that_timm_publishes_nothing_by_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceUnreachable, match=r"timm has no weights 'resnet50\.never_published'"):
        timm_weights("resnet50.never_published")
    at_url(monkeypatch, "")
    with pytest.raises(SourceUnreachable, match="no place where they are published"):
        timm_weights(TAG)


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Starts a server that answers HEAD and GET as it is told; gives its address."""
    running: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def do_HEAD(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def hub_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def file_server(path: Path, asked: list[str]) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(f"{request.command} {request.path}")
        data = path.read_bytes()
        request.send_response(200)
        request.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        request.send_header("X-Repo-Commit", "0" * 40)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data)

    return answer


def test_a_hub_gives_the_file_once_and_its_digest(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, asked = bad_weights.safe(tmp_path / "model.safetensors", weights()), []
    hub_at(serve(file_server(path, asked)), monkeypatch)
    found = timm_weights(TAG)
    assert same(found.tensors, weights())
    assert found.sha256 == digest(path)
    assert f"GET /timm/{TAG}/resolve/main/model.safetensors" in asked
    asked.clear()
    assert timm_weights(TAG).sha256 == found.sha256
    assert asked == []


def missing(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(404)
    request.send_header("X-Error-Code", "EntryNotFound")
    request.send_header("Content-Length", "0")
    request.end_headers()


def test_a_hub_without_the_file_is_told(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> None:
    hub_at(serve(missing), monkeypatch)
    with pytest.raises(SourceUnreachable, match=r"need the network.*404 Client Error"):
        timm_weights(TAG)


def test_a_deaf_host_is_given_up_soon(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    hub_at(serve(lambda request: released.wait(60)), monkeypatch)
    monkeypatch.setattr(published, "TIMEOUT_SECONDS", 0.3)
    started = time.monotonic()
    try:
        with pytest.raises(SourceUnreachable, match="timed out"):
            timm_weights(TAG)
    finally:
        released.set()
    assert time.monotonic() - started < 10


def at_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    class Elsewhere:
        hf_hub_id = None

    Elsewhere.url = url  # type: ignore[attr-defined]
    monkeypatch.setattr(published, "get_pretrained_cfg", lambda tag, **_: Elsewhere)


def test_files_that_lie_elsewhere_are_fetched_once_and_checked(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fetching, "_is_global", lambda address: True)  # the test's server is on this machine
    path, asked = tmp_path / "w.pth", []
    torch.save(weights(), path)
    address = serve(file_server(path, asked))
    at_url(monkeypatch, f"{address}/weights-{'0' * 8}.pth")
    with pytest.raises(SourceUnreachable, match="expected a file whose sha256 begins with 00000000"):
        timm_weights(TAG)
    at_url(monkeypatch, f"{address}/weights-{digest(path)[:8]}.pth")
    for _ in range(2):
        assert timm_weights(TAG).sha256 == digest(path)
    assert [line.split()[0] for line in asked] == ["GET", "GET"]
    assert [kept.name for kept in (tmp_path / "torch" / "checkpoints").iterdir()] == [f"weights-{digest(path)[:8]}.pth"]


def test_an_address_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    at_url(monkeypatch, "http://127.0.0.1:9/w.pth")
    with pytest.raises(SourceUnreachable, match=r"need the network.*no address of the open internet"):
        timm_weights(TAG)
    monkeypatch.setattr(fetching, "_is_global", lambda address: True)
    with pytest.raises(SourceUnreachable, match=r"need the network.*refused"):
        timm_weights(TAG)

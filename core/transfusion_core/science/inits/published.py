"""Weights that timm publishes, by tag (`resnet50.a1_in1k`): from a mirror folder, else from where they are published.

The file's digest is told with its tensors: a tag is a name, and what it names can change.
"""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import huggingface_hub
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import Tensor

from transfusion_core.science.inits.fetching import open_url
from transfusion_core.science.inits.source_errors import SourceUnreachable, SourceUnreadable
from transfusion_core.science.inits.sources import checked, load_weights
from transfusion_core.science.models.build import takes_image_size

SUFFIXES = (".safetensors", ".pth", ".pt")
"""What a mirrored file may end in, the best first."""
TIMEOUT_SECONDS = 10.0
"""A host that says nothing for so long is taken for unreachable."""
TAG = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)*")
TOLD_MAX = 500


@dataclass(frozen=True)
class Published:
    """A tag's tensors by timm's names, and the file that they were read from."""

    tensors: dict[str, Tensor]
    sha256: str
    """Of the file as it was found, before any conversion."""
    file: Path


def timm_weights(
    tag: str, *, image_size: int | None = None, mirror: Path | None = None, scratch: Path | None = None
) -> Published:
    """The published weights of a timm tag; a bare architecture stands for its default.

    Taken from `mirror / "<tag>.safetensors"` (or .pth, .pt) where there is such a file, else from the Hugging Face
    hub, which honours HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE. timm itself brings old files up to date and fits
    positions and windows to `image_size` where the architecture is built for one size. Raises `SourceUnreachable`
    where neither has the file and `SourceUnreadable` where it is not that network's.
    """
    origin = _origin(tag)
    file = _mirrored(tag, mirror) or _fetched(tag, origin, mirror)
    tensors = load_weights(file, scratch=scratch)
    return Published(_brought_up_to_date(tag, tensors, image_size), _sha256(file), file)


def _origin(tag: str) -> PretrainedCfg:
    """Where timm publishes the tag. It goes into paths, so that its characters are checked first."""
    if not TAG.fullmatch(tag) or not timm.is_model(tag.partition(".")[0]):
        raise SourceUnreachable(f"timm has no architecture {tag.partition('.')[0]!r}, which {tag!r} asks for")
    try:
        origin = get_pretrained_cfg(tag, allow_unregistered=False)
    except RuntimeError as error:
        raise SourceUnreachable(f"timm has no weights {tag!r} ({_first_line(error)})") from error
    assert origin is not None  # timm raises instead
    return origin


def _mirrored(tag: str, mirror: Path | None) -> Path | None:
    if mirror is None:
        return None
    return next((path for suffix in SUFFIXES if (path := mirror / f"{tag}{suffix}").is_file()), None)


def _fetched(tag: str, origin: PretrainedCfg, mirror: Path | None) -> Path:
    try:
        if origin.hf_hub_id:
            return _from_hub(origin.hf_hub_id, origin.hf_hub_filename)
        if isinstance(origin.url, str) and origin.url:
            return _from_url(origin.url)
    except (OSError, RuntimeError, ValueError, httpx2.HTTPError) as error:
        raise SourceUnreachable(f"{_wanting(tag, mirror)} ({_first_line(error)})") from error
    raise SourceUnreachable(f"{_wanting(tag, mirror)} (timm says of no place where they are published)")


def _wanting(tag: str, mirror: Path | None) -> str:
    folder = "none is set (TRANSFUSION_WEIGHTS_DIR)" if mirror is None else f"{mirror} has none"
    return f"the weights {tag!r} need the network, or a weights folder with {tag}.safetensors or .pth: {folder}"


def _from_hub(hub_id: str, filename: str | None) -> Path:
    """In the hub's own cache, in which the next job finds it without asking the network."""
    repository, _, revision = hub_id.partition("@")
    wanted: dict[str, Any] = {"repo_id": repository, "filename": filename or "model.safetensors"}
    if revision:
        wanted["revision"] = revision
    try:
        return Path(huggingface_hub.hf_hub_download(**wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            raise
    # The hub's client tries an unreachable host again and again, for minutes: it is asked once before.
    httpx2.head(constants.ENDPOINT, timeout=TIMEOUT_SECONDS)
    return Path(huggingface_hub.hf_hub_download(**wanted, etag_timeout=TIMEOUT_SECONDS))


def _from_url(url: str) -> Path:
    """In torch's cache, as timm would put it there; a file's name may end in the first digits of its digest."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlsplit(url).path).name
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            with open_url(url, timeout_seconds=TIMEOUT_SECONDS) as answer:
                while piece := answer.read(1 << 20):
                    file.write(piece)
            file.flush()
            _check_digest(Path(file.name), path.stem)
            os.replace(file.name, path)
        finally:
            Path(file.name).unlink(missing_ok=True)
    return path


def _check_digest(path: Path, stem: str) -> None:
    promised = re.search(r"-([0-9a-f]{8,64})$", stem)
    if promised and not _sha256(path).startswith(promised[1]):
        raise ValueError(f"expected a file whose sha256 begins with {promised[1]}, got {_sha256(path)}")


def _brought_up_to_date(tag: str, tensors: dict[str, Tensor], image_size: int | None) -> dict[str, Tensor]:
    """The tensors as timm's network of that tag has them; timm's strict loading says what does not fit."""
    options: dict[str, Any] = {"img_size": image_size} if image_size is not None and takes_image_size(tag) else {}
    overlay = {"state_dict": tensors, "custom_load": False}  # the files are torch's, also where others were not
    try:
        model = timm.create_model(tag, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except (RuntimeError, KeyError, ValueError, IndexError, AttributeError, TypeError, AssertionError) as error:
        raise SourceUnreadable(f"{tag}: expected the tensors of that network, got others: {_told(error)}") from error
    return {name: checked(tag, name, tensor).detach() for name, tensor in model.state_dict().items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:TOLD_MAX]


def _told(error: Exception) -> str:
    told = " ".join(str(error).split())
    return told if len(told) <= TOLD_MAX else f"{told[:TOLD_MAX]} and more"

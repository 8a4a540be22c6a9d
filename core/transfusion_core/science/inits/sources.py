"""Reads source tensors: from a weight file, or from timm's published weights where there is a network.

A `.pt` or `.pth` file is a pickle. It is read with `weights_only=True` and nothing else; the caller still does so in
a limited child process without network.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from transfusion_core.errors import DataError
from transfusion_core.science.models.build import takes_image_size

CONTAINERS = ("state_dict", "model", "model_state_dict")
"""Names under which training scripts keep the weights inside a checkpoint."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What data parallelism, torch.compile and Lightning put before every name."""


class SourceUnreadable(DataError):
    """The weight file cannot be used."""

    code = "source_unreadable"


class SourceUnreachable(DataError):
    """The published weights cannot be fetched from here."""

    code = "source_unreachable"


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, `.pt` or `.pth` file, on the CPU, by name.

    Raises `SourceUnreadable` for another kind of file, a broken one, values that are no tensors, and numbers that
    are not finite.
    """
    loaded = _read(path)
    for name in CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise SourceUnreadable(f"{path.name}: expected a state dict of tensors, got {type(loaded).__name__}")
    return {str(name): _checked(path.name, str(name), value) for name, value in loaded.items()}


def map_keys(source: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The source by the network's names: prefixes that all its names have and the network's have not are cut off."""
    names = list(source)
    own = list(model.state_dict())
    cut = 0
    while prefix := _shared_prefix([name[cut:] for name in names], own):
        cut += len(prefix)
    return {name[cut:]: tensor for name, tensor in source.items()}


def timm_weights(tag: str, *, image_size: int | None = None, mirror: Path | None = None) -> dict[str, Tensor]:
    """The published weights of a timm tag (`resnet50.a1_in1k`, or `resnet50` for its default), by timm's names.

    Taken from `mirror / "<tag>.safetensors"` where a mirror folder is given, else from the Hugging Face hub, which
    honours HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE. timm itself brings old files up to date and fits positions and
    windows to `image_size` where the architecture is built for one size. Raises `SourceUnreachable`.
    """
    if not timm.is_model(tag.partition(".")[0]):
        raise SourceUnreachable(f"timm has no architecture {tag.partition('.')[0]!r}, which {tag!r} asks for")
    overlay = None if mirror is None else {"file": str(_mirrored(mirror, tag))}
    options: dict[str, Any] = {"img_size": image_size} if image_size is not None and takes_image_size(tag) else {}
    try:
        model = timm.create_model(tag, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except (OSError, RuntimeError, ValueError) as error:
        told = str(error).partition("\n")[0]
        raise SourceUnreachable(
            f"the weights {tag!r} cannot be fetched: the network is needed, or a mirror folder that holds "
            f"{tag}.safetensors ({told})"
        ) from error
    return {name: _checked(tag, name, tensor) for name, tensor in model.state_dict().items()}


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pt", ".pth"):
            return torch.load(path, weights_only=True, map_location="cpu")
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        told = str(error).partition("\n")[0]
        raise SourceUnreadable(f"{path.name}: expected tensors that load without running code: {told}") from error
    raise SourceUnreadable(f"{path.name}: expected a file called .safetensors, .pt or .pth")


def _checked(origin: str, name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise SourceUnreadable(f"{origin}: expected a tensor at {name!r}, got {type(value).__name__}")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise SourceUnreadable(f"{origin}: expected finite numbers, got NaN or infinity in {name!r}")
    return value.detach()


def _shared_prefix(names: Sequence[str], own: Sequence[str]) -> str | None:
    for prefix in PREFIXES:
        shared = bool(names) and all(name.startswith(prefix) for name in names)
        if shared and not any(name.startswith(prefix) for name in own):
            return prefix
    return None


def _mirrored(mirror: Path, tag: str) -> Path:
    path = mirror / f"{tag}.safetensors"
    if not path.is_file():
        raise SourceUnreachable(f"the mirror folder holds no {path.name}")
    load_weights(path)  # says what is wrong with the file better than timm does
    return path

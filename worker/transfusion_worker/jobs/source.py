"""The tensors that a training starts from: another run's, a registered weight file's, or timm's published ones."""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from transfusion_core.errors import DataError
from transfusion_core.science.inits.naming import map_keys
from transfusion_core.science.inits.published import timm_weights
from transfusion_core.science.inits.sources import load_weights
from transfusion_core.science.models.catalogue import published_input
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.init import SourceRef
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.checkpoints import load


@dataclass(frozen=True)
class Source:
    """Tensors to start from, by the network's names."""

    tensors: dict[str, Tensor]
    digest: str
    """sha256 of the file that they were read from."""
    input: InputContract | None = None
    """What its network was fed with, where that is known."""


def read_source(context: JobContext, ref: SourceRef, *, model: nn.Module, image_size: int) -> Source:
    """What `ref` stands for, by the names of `model`. DataError where it is not there or cannot be used."""
    found = _read(context, ref, image_size)
    context.log(f"source {_called(ref)} with sha256 {found.digest} and {len(found.tensors)} tensors")
    return replace(found, tensors=map_keys(found.tensors, model))


def _read(context: JobContext, ref: SourceRef, image_size: int) -> Source:
    if ref.run is not None:
        checkpoint = load(context, ref)
        return Source(checkpoint.weights, checkpoint.sha256, checkpoint.about.input)
    if ref.weights is not None:
        return Source(_weights(context, ref.weights), ref.weights, ref.input)
    if ref.timm is None:
        raise DataError("expected a run, weights or a timm tag as source, got none of them")
    published = timm_weights(
        ref.timm, image_size=image_size, mirror=context.settings.weights_dir, scratch=context.scratch
    )
    return Source(published.tensors, published.sha256, ref.input or published_input(ref.timm))


def _weights(context: JobContext, sha256: str) -> dict[str, Tensor]:
    """A registered weight file."""
    key = f"weights/{sha256}"
    size_bytes = context.store.size(key)
    if size_bytes is None:
        raise DataError(f"there are no weights with sha256 {sha256} in the store")
    fetched = context.fetch(StoredObject(key=key, size_bytes=size_bytes, sha256=sha256))
    return load_weights(fetched, scratch=context.scratch)


def _called(ref: SourceRef) -> str:
    if ref.timm is not None:
        return f"timm {ref.timm}"
    return f"run {ref.run}@{ref.checkpoint}" if ref.run is not None else "weights"

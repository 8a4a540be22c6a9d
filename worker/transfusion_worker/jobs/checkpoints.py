"""Checkpoints of runs in the store: weights as safetensors, with what is needed to build and feed the network again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from torch import Tensor, nn

from transfusion_core.errors import DataError
from transfusion_core.faultpoints import faultpoint
from transfusion_core.science.models.build import build_random
from transfusion_core.science.training.checkpoint import load_checkpoint, save_checkpoint
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.init import Slim, SourceRef
from transfusion_core.specs.job import CheckpointRef
from transfusion_core.specs.training import Checkpoint, TrainResult
from transfusion_worker.context import JobContext

_ABOUT = "about"


@dataclass(frozen=True, kw_only=True)
class About:
    """A checkpoint file's metadata."""

    model: str
    classes: int
    image_size: int
    step: int
    dataset: str
    """Digest of the dataset it was trained on."""
    mean: list[float]
    """Of each channel of pixels in 0..1: what the network's input was normalised by."""
    std: list[float]
    slim: Slim | None = None
    """How the network differs from the model of that name."""

    @property
    def input(self) -> InputContract:
        """What the network was fed with."""
        return InputContract(mean=self.mean, std=self.std, size=self.image_size)

    def metadata(self) -> dict[str, str]:
        """As safetensors keeps it: text to text. In one piece, since it writes several in any order, and equal weights
        are to be equal files. `slim` stands only in files of slim networks.
        """
        return {_ABOUT: json.dumps({name: value for name, value in asdict(self).items() if value is not None})}

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> Self:
        """From a file; DataError where it is none of ours."""
        try:
            told = json.loads(metadata[_ABOUT])
            return cls(**told | {"slim": Slim(**told["slim"]) if "slim" in told else None})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"expected a checkpoint written by a run, got metadata {dict(metadata)}") from error


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A network as a run left it at some step."""

    about: About
    weights: dict[str, Tensor]
    sha256: str

    def build(self) -> nn.Module:
        """The network with these weights."""
        model = self.build_untrained(seed=0)
        model.load_state_dict(self.weights)
        return model

    def build_untrained(self, *, seed: int) -> nn.Module:
        """The same network with random weights."""
        about = self.about
        return build_random(about.model, classes=about.classes, image_size=about.image_size, seed=seed, slim=about.slim)


def keep(context: JobContext, weights: Mapping[str, Tensor], about: About, name: str) -> Checkpoint:
    """Store a checkpoint."""
    path = context.scratch / f"{name}.safetensors"
    save_checkpoint(path, weights, about.metadata())
    faultpoint("checkpoint")
    stored = context.put(path, path.name)
    path.unlink()
    return Checkpoint(step=about.step, name=name, bytes=stored.size_bytes, sha256=stored.sha256, key=stored.key)


def load(context: JobContext, ref: CheckpointRef | SourceRef) -> LoadedCheckpoint:
    """Fetch a checkpoint of a run that this job needs."""
    assert ref.run is not None
    result: Any = context.need(ref.run).result
    kept = {checkpoint.name: checkpoint for checkpoint in TrainResult.model_validate(result).checkpoints}
    found = kept.get(ref.checkpoint) or next((c for c in kept.values() if str(c.step) == ref.checkpoint), None)
    if found is None:
        raise DataError(f"expected a checkpoint among {', '.join(kept)}, got '{ref.checkpoint}'")
    stored = StoredObject(key=found.key, size_bytes=found.bytes, sha256=found.sha256)
    weights, metadata = load_checkpoint(context.fetch(stored))
    return LoadedCheckpoint(About.read(metadata), weights, found.sha256)

"""Models as the catalogue knows them: what can be said of a network without building it.

The catalogue is a file made from the real models by `python -m transfusion_core.science.models.catalogue`;
a test holds the two in step. It lets the API check specs where torch is not installed.
"""

import gzip
import json
from collections.abc import Collection, Sequence
from functools import cache
from importlib.resources import files

from transfusion_core.specs.base import Record
from transfusion_core.specs.contract import InputContract

CLASS_TOKEN = "[class]"
"""What follows a layer's name to mean its class token alone, as the similarity engine writes it."""


class Stage(Record):
    """A named part of a network, in forward order; its output can be tapped."""

    name: str
    """Module path of the stage's output, as `model.get_submodule` takes it."""
    channels: int
    stride: int
    """Input pixels per output position and axis; 0 where the output has no positions (dense)."""


class ModelEntry(Record):
    """One model of the catalogue."""

    name: str
    family: str
    parameters: int
    """Trainable parameters with 3 input channels and 1000 classes."""
    stages: list[Stage]
    layers: list[str]
    """Module paths that a comparison can tap, in forward order."""
    class_token_layers: list[str] = []
    """Those of them that have a class token: `layer[class]` names it."""
    min_image_size: int
    image_size_multiple: int = 1
    """Image sizes must be a multiple of this (patches of a transformer)."""
    default_image_size: int
    macs: int
    """Multiply-adds of one forward pass at `default_image_size`."""
    inits: list[str]
    sources: list[str]
    """Published weights that the platform can fetch where there is a network: timm tags."""
    source_inputs: dict[str, InputContract] = {}
    """What each of them expects of its images."""

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages, in forward order."""
        return [stage.name for stage in self.stages]

    @property
    def layer_names(self) -> list[str]:
        """Every name that a comparison may give."""
        return layer_names(self.layers, self.class_token_layers)

    def positions(self, stage: Stage, image_size: int) -> int:
        """Spatial positions of the stage's output at that image size."""
        return 1 if stage.stride == 0 else max(1, -(-image_size // stage.stride)) ** 2


def layer_names(layers: Sequence[str], class_token_layers: Collection[str]) -> list[str]:
    """What a comparison may call a network's layers: each by its path, then the class tokens of those that have one."""
    return [*layers, *(layer + CLASS_TOKEN for layer in layers if layer in class_token_layers)]


@cache
def catalogue() -> dict[str, ModelEntry]:
    """Every model that can be named in a spec, by name."""
    packed = files("transfusion_core.specs").joinpath("catalogue.json.gz").read_bytes()
    return {entry["name"]: ModelEntry.model_validate(entry) for entry in json.loads(gzip.decompress(packed))}

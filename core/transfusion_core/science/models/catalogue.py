"""Makes the catalogue, the file from which the API knows every model without torch.

`python -m transfusion_core.science.models.catalogue [NAME ...]` builds each model on the meta device, looks at one
forward pass of it and writes `transfusion_core/specs/catalogue.json.gz`, byte for byte the same for the same timm.
Models that cannot be built, or are no classifiers of images, are left out and named on stderr.
"""

import gzip
import json
import math
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg, model_entrypoint
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import transfusion_core.specs.model as spec_of_model
from transfusion_core.errors import DataError
from transfusion_core.science.models.build import create, gabor_conv, head_names, takes_image_size
from transfusion_core.science.models.cbr import CBR
from transfusion_core.science.models.layers import (
    Probe,
    channels_last_output,
    probe,
    select_layers,
    select_stages,
    stage_information,
    stages,
)
from transfusion_core.science.models.prefix import stages_in_order
from transfusion_core.science.models.slim import SlimUnfit
from transfusion_core.science.models.tokens import class_token_layers
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.init import Slim
from transfusion_core.specs.model import ModelEntry, Stage

CLASSES = 1000
SIZES = (16, 24, 32, 48, 64, 75, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512, 640)
"""Candidates for the smallest image size, each raised to the model's multiple."""
MULTIPLES = (1, 2, 4, 7, 8, 14, 16, 24, 28, 32, 64)
"""Candidates for the number that image sizes must be a multiple of."""
MODEL_TIMEOUT_SECONDS = 60
CBR_IMAGE_SIZE = 224
UNFIT = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError)
"""What torch and timm raise where a network cannot be built or run as asked."""


class NotCatalogued(DataError):
    """The model is no image classifier that can be looked at on the meta device."""

    code = "not_catalogued"


def names() -> list[str]:
    """Every model that is tried: the CBR family, then timm's architectures in their order."""
    return [*CBR, *timm.list_models(pretrained=False)]


def entry(name: str, *, sources: Sequence[str]) -> ModelEntry:
    """What the catalogue says of one model; `NotCatalogued` with the reason where it has no place there."""
    size = default_image_size(name)
    with _limited(name):
        try:
            return _entry(name, size=size, sources=sources)
        except UNFIT as error:
            raise NotCatalogued(f"{name}: {type(error).__name__}: {error}") from error


def published_sources() -> dict[str, list[str]]:
    """timm's tags with published weights, `architecture.tag`, by architecture."""
    found: dict[str, list[str]] = defaultdict(list)
    for source in timm.list_pretrained():
        found[source.partition(".")[0]].append(source)
    return {architecture: sorted(tags) for architecture, tags in found.items()}


def published_input(source: str) -> InputContract:
    """What timm says that published weights expect; its pixels are in 0..1."""
    told = get_pretrained_cfg(source)
    assert told is not None  # the tag is timm's own
    return InputContract(
        channels=told.input_size[0],
        mean=list(told.mean),
        std=list(told.std),
        size=told.input_size[-1],
        min_size=told.min_input_size[-1] if told.min_input_size else None,
        interpolation=told.interpolation,
    )


def default_image_size(name: str) -> int:
    """The image size that the network was made for."""
    if name in CBR:
        return CBR_IMAGE_SIZE
    published = get_pretrained_cfg(name)
    return int(published.input_size[-1]) if published is not None else CBR_IMAGE_SIZE


def image_size_multiple(name: str, *, size: int, model: nn.Module) -> int:
    """The smallest candidate m such that the network takes images of m pixels more than its default `size`.

    No less than the patch of a transformer: timm drops what is left over at the border in silence.
    """
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    least = max(patch) if isinstance(patch, Sequence) else int(patch)
    for multiple in sorted({*MULTIPLES, least}):
        if multiple >= least and size % multiple == 0 and runs_at(name, size + multiple, model=model):
            return multiple
    raise NotCatalogued(f"{name}: takes no size near {size}")


def min_image_size(name: str, *, multiple: int, size: int, model: nn.Module) -> int:
    """The smallest of the candidate sizes at which the network runs."""
    return next(least for least in sizes(multiple, size) if least == size or runs_at(name, least, model=model))


def sizes(multiple: int, size: int) -> list[int]:
    """The candidates for the smallest size, in order: multiples of `multiple` up to the default `size`."""
    raised = {-(-least // multiple) * multiple for least in SIZES}
    return sorted({least for least in raised if least < size} | {size})


def runs_at(name: str, size: int, *, model: nn.Module) -> bool:
    """Whether the network gives logits for images of `size` pixels; `model` is one built at another size."""
    try:
        fitting = on_meta(name, size) if takes_image_size(name) else model
        return probe(fitting, image_size=size).output[-1] == CLASSES
    except UNFIT:
        return False


def on_meta(name: str, size: int) -> nn.Module:
    """The network without its numbers."""
    with torch.device("meta"):
        return create(name, classes=CLASSES, image_size=size)


def inits(name: str, *, model: nn.Module, chain: Sequence[str], size: int) -> list[str]:
    """The initialisations that fit; `chain` are the stages that can be tapped, `model` is on the meta device."""
    found = ["random", "pretrained", "mean_var", *(["gabor"] if gabor_conv(model) else [])]
    if list(chain) != stages(model) or not stages_in_order(model, image_size=size):
        return found
    return [*found, "transfuse", *(["slim"] if can_be_slim(name, chain) else [])]


def can_be_slim(name: str, chain: Sequence[str]) -> bool:
    """Whether the network can be built with half the channels after any stage of `chain` but the last."""
    try:
        with torch.device("meta"):
            for stage in chain[:-1]:
                create(name, classes=CLASSES, image_size=CBR_IMAGE_SIZE, slim=Slim(prefix=stage, width=0.5))
    except SlimUnfit:
        return False
    return True


def pack(entries: Sequence[ModelEntry]) -> bytes:
    """The catalogue file: gzipped JSON, sorted by name, without a time in it."""
    rows = [one.model_dump(mode="json") for one in sorted(entries, key=lambda one: one.name)]
    return gzip.compress(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode(), compresslevel=9, mtime=0)


def main(wanted: Sequence[str]) -> None:
    """Write the catalogue of the `wanted` models, all of them where none is named."""
    torch.set_num_threads(1)
    sources = published_sources()
    entries = []
    for name in wanted or names():
        try:
            entries.append(entry(name, sources=sources.get(name, [])))
        except NotCatalogued as error:
            print(f"left out: {error.detail.splitlines()[0]}", file=sys.stderr, flush=True)
    path = Path(spec_of_model.__file__).with_name("catalogue.json.gz")
    path.write_bytes(pack(entries))
    print(f"{len(entries)} models, {path.stat().st_size} bytes in {path.name}", file=sys.stderr)


def _entry(name: str, *, size: int, sources: Sequence[str]) -> ModelEntry:
    model = on_meta(name, size)
    _check_head(name, model)
    with FlopCounterMode(display=False) as counter:
        seen = probe(model, image_size=size)
    if len(seen.output) != 2 or seen.output[-1] != CLASSES:
        raise NotCatalogued(f"{name}: gives {seen.output}, not logits of {CLASSES} classes")
    multiple = image_size_multiple(name, size=size, model=model)
    images = seen.output[0]
    layers, with_token = select_layers(model, seen), class_token_layers(model, seen)
    return ModelEntry(
        name=name,
        family="cbr" if name in CBR else model_entrypoint(name).__module__.rpartition(".")[2],
        parameters=sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad),
        stages=_stages(model, seen, size=size),
        layers=layers,
        class_token_layers=[layer for layer in layers if layer in with_token],
        min_image_size=min_image_size(name, multiple=multiple, size=size, model=model),
        image_size_multiple=multiple,
        default_image_size=size,
        macs=counter.get_total_flops() // (2 * images),  # a multiply-add is two operations
        inits=inits(name, model=model, chain=select_stages(model, seen), size=size),
        sources=list(sources),
        source_inputs={source: published_input(source) for source in sources},
    )


def _check_head(name: str, model: nn.Module) -> None:
    known = dict(model.named_modules())
    heads = head_names(model)
    if not heads or any(head not in known for head in heads):
        raise NotCatalogued(f"{name}: its head {heads} is no part of it")


def _stages(model: nn.Module, seen: Probe, *, size: int) -> list[Stage]:
    rows = {str(row["module"]): row for row in stage_information(model)}
    return [
        _stage(path, seen.taps[path], told=rows.get(path, {}), last=channels_last_output(model, path), size=size)
        for path in select_stages(model, seen)
    ]


def _stage(path: str, shape: tuple[int, ...], *, told: dict[str, object], last: bool, size: int) -> Stage:
    """What timm says of the stage, or else what its output's shape says."""
    channels_last = last or len(shape) != 4
    channels = told.get("num_chs", shape[-1] if channels_last else shape[1])
    positions = math.prod(shape[1:-1] if channels_last else shape[2:])
    stride = 0 if len(shape) == 2 else told.get("reduction", max(1, round(size / positions**0.5)))
    return Stage(name=path, channels=int(str(channels)), stride=int(str(stride)))


@contextmanager
def _limited(name: str) -> Iterator[None]:
    """Give up on a model that takes longer than a minute. For the main thread of a process alone."""

    def give_up(_signal: int, _frame: object) -> None:
        raise NotCatalogued(f"{name}: took longer than {MODEL_TIMEOUT_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(MODEL_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main(sys.argv[1:])

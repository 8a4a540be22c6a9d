"""Fits a source's tensors to a network's, by name; what does not fit is an error that lists every culprit.

The head is never taken from a source. Two things are adapted, and said so in the report: the channels of the first
convolution (see `fit_channels`) and a transformer's grid of positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from transfusion_core.errors import DataError
from transfusion_core.science.models.build import first_convs, in_modules
from transfusion_core.specs.init import TensorReport

LISTED_MAX = 20
"""So many names of each sort are spelled out in an error."""
NAME_MAX = 200
"""Characters of a name in an error: a file may call its tensors anything."""


class WeightsDoNotFit(DataError):
    """The source's tensors are not those of the network."""

    code = "weights_do_not_fit"


@dataclass
class Match:
    """Source tensors in the shapes of the network's, by the network's names, without the head."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    adapted: dict[str, str] = field(default_factory=dict)
    """What was done to a tensor so that it fits."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Why a tensor of the network has none from the source."""
    unused: list[TensorReport] = field(default_factory=list)
    """Tensors that only the source has, which the spec lists."""


def match(model: nn.Module, source: Mapping[str, Tensor], *, head: Sequence[str], skip: Sequence[str] = ()) -> Match:
    """Pair the network's tensors with the source's.

    Raises `WeightsDoNotFit` for missing, unexpected and misshapen tensors that belong neither to the `head` nor to
    `skip` (names of tensors or of modules). A source may lack `num_batches_tracked`, as torch < 0.4.1 wrote none.
    """
    found = Match()
    missing, misshapen = [], []
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not in_modules(name, list(head))}
    for name, tensor in wanted.items():
        if name not in source:
            if in_modules(name, list(skip)) or name.endswith("num_batches_tracked"):
                found.skipped[name] = "the source has none"
            else:
                missing.append(name)
        elif not _take(found, model, name, ours=tensor, theirs=source[name]):
            if in_modules(name, list(skip)):
                found.skipped[name] = f"the source's shape is {list(source[name].shape)}"
            else:
                misshapen.append(f"{name} {list(source[name].shape)} for {list(tensor.shape)}")
    strange = [name for name in source if name not in wanted and not in_modules(name, list(head))]
    unexpected = [name for name in strange if not in_modules(name, list(skip))]
    _refuse(missing=missing, unexpected=unexpected, misshapen=misshapen)
    found.unused = [_unused(name, source[name]) for name in strange]
    return found


def fit_channels(tensor: Tensor, channels: int) -> Tensor | None:
    """A convolution's weight `(out, in, k, k)` for another number of input channels; `None` for other tensors.

    The sum over its channels is spread evenly over the new ones: an image that is grey, the same in all channels
    however many there are, has the same response before and after.
    """
    if tensor.ndim != 4:
        return None
    return tensor.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels


def _take(found: Match, model: nn.Module, name: str, *, ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape == theirs.shape:
        found.tensors[name] = theirs
        return True
    fitted = None
    if name.removesuffix(".weight") in first_convs(model):
        fitted, done = fit_channels(theirs, ours.shape[1]), f"input channels {theirs.shape[1]} to {ours.shape[1]}"
    elif name == "pos_embed":
        fitted, done = _fit_positions(model, theirs), f"positions resampled from {theirs.shape[1]} to {ours.shape[1]}"
    if fitted is None or fitted.shape != ours.shape:
        return False
    found.tensors[name], found.adapted[name] = fitted, done
    return True


def _fit_positions(model: nn.Module, positions: Tensor) -> Tensor | None:
    """Position embeddings `(1, prefix + tokens, c)` of a square grid, bicubically resampled to the network's grid."""
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    prefix = 0 if getattr(model, "no_embed_class", False) else int(getattr(model, "num_prefix_tokens", 0))
    side = max(0, positions.shape[1] - prefix) ** 0.5 if positions.ndim == 3 else 0.5
    if grid is None or side != int(side):
        return None
    resampled: Tensor = resample_abs_pos_embed(
        positions, new_size=list(grid), old_size=[int(side)] * 2, num_prefix_tokens=prefix
    )
    return resampled


def _refuse(**faults: list[str]) -> None:
    told = [f"{sort}: {_listed(names)}" for sort, names in faults.items() if names]
    if told:
        raise WeightsDoNotFit("the source's tensors are not those of the network; " + "; ".join(told))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED_MAX} more" if len(names) > LISTED_MAX else ""
    return ", ".join(name[:NAME_MAX] for name in names[:LISTED_MAX]) + more


def _unused(name: str, tensor: Tensor) -> TensorReport:
    return TensorReport(
        name=name, shape=list(tensor.shape), action="skipped", reason="not in the network", source_name=name
    )

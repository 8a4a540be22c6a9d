"""The filters of a network's first convolution as pictures."""

from collections.abc import Mapping

from PIL import Image
from torch import Tensor, nn

from transfusion_core.science.data.data_url import data_url
from transfusion_core.science.models.build import first_convs
from transfusion_core.science.movement import filter_correlations, filter_grid
from transfusion_core.specs.training import FilterPicture, Filters

MOST_FILTERS = 256
"""More are a carpet: a patch embedding has as many as its network is wide."""


def filters_of(model: nn.Module, weights: Mapping[str, Tensor]) -> Tensor | None:
    """The first convolution's filters (n, channels, h, w) among these weights of `model`; None where there are none."""
    names = [f"{name}.weight" for name in first_convs(model)]
    found = weights.get(names[0]) if names else None
    return found if found is not None and found.ndim == 4 else None


def picture(filters: Tensor) -> str:
    """A grid of them, as the data URL of a PNG."""
    pixels = filter_grid(filters).permute(1, 2, 0).contiguous()  # (height, width, 3)
    return data_url(Image.fromarray(pixels.numpy()))


def before_and_after(model: nn.Module, before: Tensor | None) -> Filters | None:
    """The filters of a run's `init` and of its `final` weights, which `model` holds; None where none can be seen."""
    after = filters_of(model, model.state_dict())
    if before is None or after is None or max(after.shape[2:]) == 1:
        return None
    kept = {"init": before[:MOST_FILTERS], "final": after[:MOST_FILTERS]}
    return Filters(
        layer=first_convs(model)[0],
        shape=list(after.shape),
        pictures=[FilterPicture(checkpoint=name, picture=picture(filters)) for name, filters in kept.items()],
        correlations=filter_correlations(before, after.cpu()),
    )

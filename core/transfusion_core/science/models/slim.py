"""Slim networks: the stages after a prefix with fewer channels (Raghu et al. 2019, section 5).

The prefix keeps its shapes, so that a pretrained one fits; the first slim stage takes the channels that the prefix
gives. CBR networks and timm's ResNets (basic and bottleneck blocks, their grouped, squeezing and anti-aliased kin)
can be slim: both are built from a list of widths. The rest of the network, its rules of initialisation among it, is
what its own constructor makes of that list.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import timm
import torch
from timm.models.resnet import ResNet
from torch import nn

from transfusion_core.errors import DataError
from transfusion_core.science.models.cbr import CbrPlan
from transfusion_core.specs.init import Slim


class SlimUnfit(DataError):
    """The model cannot be redesigned as asked."""

    code = "slim_unfit"


def slim_plan(plan: CbrPlan, slim: Slim) -> CbrPlan:
    """The plan with `slim.width` times the channels in the stages after `slim.prefix`."""
    return replace(plan, widths=_narrowed(plan.widths, stages=plan.stage_names, slim=slim))


def slim_resnet(name: str, slim: Slim, *, classes: int, channels: int) -> nn.Module:
    """A timm ResNet whose stages after `slim.prefix` have `slim.width` times the channels.

    What is scaled is the planes of the blocks, from which timm works out the channels inside and after each block.
    Raises `SlimUnfit` for other architectures, an unknown or last stage, and widths that its groups do not divide.
    """
    design = _design(name)
    # the stem is no stage of blocks: its channels are those that the prefix gives in any case
    widths = _narrowed((0, *design.planes), stages=design.stages, slim=slim)[1:]
    try:
        with warnings.catch_warnings():
            # groups of no channels: torch builds them with a warning, and they would compute nothing
            warnings.filterwarnings("error", message="Initializing zero-element")
            model: nn.Module = timm.create_model(
                name, pretrained=False, num_classes=classes, in_chans=channels, channels=widths
            )
    except (RuntimeError, ValueError, ZeroDivisionError, AssertionError, UserWarning) as error:
        raise SlimUnfit(f"{name} cannot be built with {list(widths)} planes (width {slim.width}): {error}") from error
    if _planes(model) != list(widths):  # pruned networks are cut to fixed shapes, whatever was asked for
        raise SlimUnfit(f"{name} cannot be slim: timm builds it with fixed channels only")
    return model


@dataclass(frozen=True)
class _Design:
    stages: list[str]
    """The stem's output, then the stages of blocks."""
    planes: list[int]
    """Of each stage of blocks."""


def _design(name: str) -> _Design:
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    if not isinstance(model, ResNet):
        raise SlimUnfit(f"{name} cannot be slim: expected a model of the families cbr and resnet")
    return _Design([str(row["module"]) for row in model.feature_info], _planes(model))


def _planes(model: nn.Module) -> list[int]:
    """Channels that each stage of blocks gives, without the blocks' expansion."""
    rows = list(cast(Any, model).feature_info)[1:]
    return [row["num_chs"] // cast(Any, model).get_submodule(row["module"])[0].expansion for row in rows]


def _narrowed(widths: Sequence[int], *, stages: Sequence[str], slim: Slim) -> tuple[int, ...]:
    """`widths` of the `stages`, scaled after the prefix, to the nearest whole number of channels, halves up."""
    if slim.prefix not in stages[:-1]:
        raise SlimUnfit(f"expected as prefix of a slim network one of {', '.join(stages[:-1])}, got {slim.prefix!r}")
    kept = stages.index(slim.prefix) + 1
    return (*widths[:kept], *(max(1, int(width * slim.width + 0.5)) for width in widths[kept:]))

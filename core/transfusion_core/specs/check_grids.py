"""Checks of an experiment that is made of grids: what each asks for, and that the spec names all of it."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from transfusion_core.specs.experiment import ExperimentSpec, Grid
from transfusion_core.specs.fault import Fault, pointer

AXES = tuple(Grid.model_fields)
MAX_GRIDS = 100
"""What stands behind is not looked at, as there may be no more."""


def products(body: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """The whole products that a body asks for, as bodies, and where each stands: its grids, or itself."""
    grids = body.get("grids")
    if not isinstance(grids, list):
        yield (), body
        return
    for place, grid in enumerate(grids[:MAX_GRIDS]):
        if isinstance(grid, dict):
            yield ("grids", place), body | {axis: grid.get(axis) for axis in AXES}


def placed(fault: Fault, place: tuple[str | int, ...]) -> Fault:
    """A fault of a product as one of the body."""
    is_of_grid = fault.pointer.split("/")[1] in AXES
    return fault.model_copy(update={"pointer": pointer(place) + fault.pointer}) if is_of_grid else fault


def axes_faults(body: dict[str, Any]) -> Iterator[Fault]:
    """Where a readable body names more, or less, than is in its grids."""
    try:
        spec = ExperimentSpec.model_validate(body)
    except ValidationError:
        return
    for axis in AXES if spec.grids else ():
        named, used = _values(spec, axis), [value for part in spec.parts for value in _values(part, axis)]
        asked = [value for value in named if value not in used] or [value for value in used if value not in named]
        if asked:
            yield Fault(
                pointer=pointer([axis]),
                message=f"expected all that is in 'grids' and nothing else, which {asked[0]!r} is not; 'grids: null' "
                "asks for the whole product",
                value=body.get(axis),
            )


def _values(spec: ExperimentSpec, axis: str) -> list[Any]:
    """What stands on one axis; seeds one by one."""
    if axis == "inits":
        return [init.resolved().model_dump(mode="json") for init in spec.inits]
    return [*range(spec.seeds)] if axis == "seeds" else list(getattr(spec, axis))

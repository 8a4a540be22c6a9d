"""How the paper trained, as far as it is known, and how sure each setting is (science.md, section 4).

Marks: p the paper, t a third party's statement, d derived by arithmetic, u unconfirmed.
"""

from typing import Any, NamedTuple

from transfusion_core.specs.base import Record
from transfusion_core.specs.training import Recipe


class Stated(NamedTuple):
    """A setting of the paper and its mark."""

    value: Any
    mark: str


RECIPES: dict[str, dict[str, Stated]] = {
    "raghu2019-retina": {
        "optimizer": Stated("adam", "t"),
        "lr": Stated(1e-3, "t"),
        "batch_size": Stated(32, "t"),
        "steps": Stated(150_000, "p"),
        "image_size": Stated(587, "u"),
        "seeds": Stated(3, "p"),
    },
    "raghu2019-chest-xray": {
        "optimizer": Stated("sgd", "t"),
        "momentum": Stated(0.9, "t"),
        "lr": Stated(1e-3, "u"),
        "batch_size": Stated(32, "u"),
        "steps": Stated(100_000, "p"),
        "image_size": Stated(224, "u"),
        "seeds": Stated(3, "p"),
    },
}
"""Settings by the recipe's name. Rate and batch are stated for Adam; that the chest x-rays share them is assumed."""
_EVAL_EVERY = 1000
"""Steps between evaluations: the paper states none, and its runs are too long for the default."""


class Provenance(Record):
    """Which settings of a spec are the paper's, and which are this platform's."""

    recipe: str
    marks: dict[str, str]
    """Setting to mark, where the spec says what the recipe says."""
    unstated: list[str]
    """Fields of `training` that no source states: what stands there is a choice of ours."""


def training_of(recipe: str) -> dict[str, Any]:
    """A recipe as the `training` of a spec."""
    stated = RECIPES[recipe]
    return {"eval_every": _EVAL_EVERY} | {name: stated[name].value for name in stated if name in Recipe.model_fields}


def provenance(recipe: str, spec: dict[str, Any]) -> Provenance:
    """Where the settings of a spec that follows a recipe come from."""
    stated, written = RECIPES[recipe], {**spec, **spec["training"]}
    return Provenance(
        recipe=recipe,
        marks={name: mark for name, (value, mark) in stated.items() if written[name] == value},
        unstated=sorted(set(Recipe.model_fields) - set(stated)),
    )

"""Recipes: datasets that the platform draws itself, so that everything can be tried without data of one's own."""

from collections.abc import Callable, Iterator

from transfusion_core.science.data.recipes import chest, natural, retina
from transfusion_core.science.data.recipes.canvas import Drawn

RECIPES: dict[str, Callable[..., Iterator[Drawn]]] = {
    "demo-retina": retina.draw,
    "demo-chest": chest.draw,
    "demo-natural": natural.draw,
}
"""`draw(images, *, seed, size)`, a few at a time, by the recipe's name in the spec."""

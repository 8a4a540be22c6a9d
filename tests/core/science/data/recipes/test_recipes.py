"""What the recipes promise: names, shapes, repeatability, and that their labels can be learned from the pictures."""

from typing import get_args

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from transfusion_core.science.data.recipes import RECIPES, chest, natural, retina
from transfusion_core.science.data.recipes.canvas import Drawn
from transfusion_core.specs.dataset import RECIPE_TASKS, RecipeName


def test_the_specs_and_the_recipes_name_the_same_set() -> None:
    assert set(RECIPES) == set(get_args(RecipeName)) == set(RECIPE_TASKS)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_first_images_do_not_depend_on_how_many_are_drawn(name: str) -> None:
    few, many = (Drawn.whole(RECIPES[name](images, seed=3, size=32)) for images in (70, 150))
    np.testing.assert_array_equal(few.images, many.images[:70])
    np.testing.assert_array_equal(few.labels, many.labels[:70])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_seed_decides_everything(name: str) -> None:
    first, again, other = (Drawn.whole(RECIPES[name](10, seed=seed, size=32)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.images != other.images).any()


@pytest.mark.parametrize("size", [16, 40, 129])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_size_is_drawn_as_colour_bytes(name: str, size: int) -> None:
    drawn = Drawn.whole(RECIPES[name](5, seed=0, size=size))
    assert drawn.images.shape == (5, size, size, 3)
    assert drawn.images.dtype == np.uint8
    assert drawn.images.std() > 10


def test_retina_grades_have_their_shares() -> None:
    shares = np.bincount(Drawn.whole(retina.draw(2000, seed=0, size=16)).labels.astype(int), minlength=5) / 2000
    np.testing.assert_allclose(shares, retina.GRADE_SHARES, atol=0.03)


def test_retina_lesions_cancel_so_that_mean_colour_says_nothing() -> None:
    drawn = Drawn.whole(retina.draw(1500, seed=0, size=32))
    means = drawn.images.reshape(1500, -1, 3).mean(1)
    aucs = [_auroc(means[:, channel], drawn.labels >= 2) for channel in range(3)]
    assert all(0.4 < auc < 0.6 for auc in aucs)


def test_chest_pictures_are_grey_with_missing_labels() -> None:
    drawn = Drawn.whole(chest.draw(1000, seed=0, size=16))
    assert (drawn.images == drawn.images[..., :1]).all()
    assert drawn.labels.shape == (1000, 5)
    assert np.isnan(drawn.labels).mean() == pytest.approx(chest.MISSING, abs=0.01)
    np.testing.assert_allclose(np.nanmean(drawn.labels, axis=0), chest.SHARES, atol=0.05)


def test_every_chest_finding_shows_as_a_brighter_place() -> None:
    drawn = Drawn.whole(chest.draw(1500, seed=0, size=32))
    films = drawn.images[..., 0].astype(float)
    for column in range(5):
        with_it, without = (films[drawn.labels[:, column] == value].mean(0) for value in (1, 0))
        assert (with_it - without).max() > 10


def test_natural_has_at_least_twenty_classes_all_of_them_drawn() -> None:
    drawn = Drawn.whole(natural.draw(1000, seed=0, size=16))
    assert len(drawn.classes) == 24
    assert set(drawn.labels.tolist()) == set(range(24))


def test_retina_grades_are_told_by_counting_local_spots() -> None:
    """What a small network learns in a few dozen steps: how much of the picture differs from its surroundings."""
    drawn = Drawn.whole(retina.draw(600, seed=0, size=64))
    green = drawn.images[..., 1].astype(np.float32)
    apart = gaussian_filter(green, (0, 1, 1)) - gaussian_filter(green, (0, 4, 4))
    inside = np.hypot(*np.mgrid[-1:1:64j, -1:1:64j]) < 0.85
    assert _auroc((np.abs(apart) > 14)[:, inside].mean(1), drawn.labels >= 2) > 0.85


def _auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """The Mann-Whitney statistic."""
    ranks, count = rankdata(score), int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(score) - count)))

"""Every promised invariance holds, and every one that is not promised fails."""

import numpy as np
import pytest

from transfusion_core.science.similarity import INVARIANCES, MEASURES, Moments
from transfusion_core.science.similarity.invariances import _EVERY

CHANGES = sorted(_EVERY)
SIDES = ["reference", "other"]


def changed(generator, layer, change):
    width = layer.shape[1]
    rotation = np.linalg.qr(generator.standard_normal((width, width)))[0]
    stretch = np.geomspace(0.05, 20, width)
    return {
        "shift": lambda: layer + 100 * generator.standard_normal(width),
        "common scale": lambda: -1e-3 * layer,
        "order of neurons": lambda: layer[:, generator.permutation(width)],
        "rotation": lambda: layer @ rotation,
        "neuron scale": lambda: layer * stretch,
        "invertible map": lambda: layer @ (rotation * stretch) @ rotation.T,
    }[change]()


def value(measure, reference, other):
    """Regression explains its first layer; PWCCA takes the narrower one as its reference, wherever it stands."""
    moments = Moments(reference.shape[1], other.shape[1])
    moments.update(reference, other)
    return MEASURES[measure](moments.pair, 0.9).value


def test_the_table_has_every_measure():
    assert INVARIANCES.keys() == MEASURES.keys()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_promised_holds_and_what_is_not_promised_does_not(layers, generator, measure, change, side):
    other, reference = layers(400, 9, 6)
    before = value(measure, reference, other)
    if side == "reference":
        after = value(measure, changed(generator, reference, change), other)
    else:
        after = value(measure, reference, changed(generator, other, change))
    if change in getattr(INVARIANCES[measure], side):
        assert after == pytest.approx(before, abs=1e-8)
    else:
        assert abs(after - before) > 1e-3


@pytest.mark.parametrize("measure", MEASURES)
def test_the_order_of_the_layers_matters_only_where_the_table_says_so(layers, measure):
    x, y = layers(400, 9, 6)
    assert (abs(value(measure, x, y) - value(measure, y, x)) < 1e-10) == INVARIANCES[measure].symmetric

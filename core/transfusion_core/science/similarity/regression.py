"""Linear regression of one layer on the other: the share of variance that a linear map explains."""

from dataclasses import dataclass

from torch import Tensor

from transfusion_core.science.similarity.cca import Kept
from transfusion_core.science.similarity.directions import Side
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.pair import Pair


@dataclass(frozen=True)
class Regression:
    """R^2 in [0, 1] in both directions, None with a `reason` when a layer does not vary.

    `x_from_y`: share of the first layer's variance that the second explains; `y_from_x`: the other way.
    `kept`: directions of each layer that explain when it is the one to explain.
    """

    x_from_y: float | None
    y_from_x: float | None
    kept: Kept
    reason: str | None = None


def linear_regression(moments: Moments | Pair) -> Regression:
    """Regress each layer on the other by least squares with an intercept, and return both R^2.

    Kornblith et al. 2019 (1905.00414), R^2_LR = norm_F(Syy^(-1/2) Syx)^2 / tr(Sxx). Invariant to any
    invertible affine map of the explaining layer; of the explained one only to orthogonal maps, one common
    scale and shifts. Fitted and judged on the same samples: independent noise of k directions explains k /
    (n - 1), all of it from n <= k + 1 on.
    """
    pair = moments.pair
    kept = Kept(*pair.each(lambda side: side.standardised.count))
    if pair.constant_reason is not None:
        return Regression(None, None, kept, pair.constant_reason)
    cross = pair.between.xy
    return Regression(_explained(pair.x, cross.T, pair.y), _explained(pair.y, cross, pair.x), kept)


def _explained(target: Side, cross: Tensor, source: Side) -> float:
    """Return the share of the target's variance in the span of the source; cross is (source, target)."""
    fitted = source.standardised.of(cross / target.trace.sqrt())  # (kept source, target)
    return min(1.0, float(fitted.square().sum()))

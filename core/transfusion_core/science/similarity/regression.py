"""Linear regression of one layer on the other: the share of variance that a linear map explains."""

from dataclasses import dataclass

import torch

from transfusion_core.science.similarity.cca import Kept
from transfusion_core.science.similarity.directions import Side
from transfusion_core.science.similarity.moments import Moments


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


def linear_regression(moments: Moments) -> Regression:
    """Regress each layer on the other by least squares with an intercept, and return both R^2.

    Kornblith et al. 2019 (1905.00414), R^2_LR = norm_F(Syy^(-1/2) Syx)^2 / tr(Sxx). Invariant to any
    invertible affine map of the explaining layer; of the explained one only to orthogonal maps, one common
    scale and shifts. Fitted and judged on the same samples: independent noise of k directions explains k /
    (n - 1), all of it from n <= k + 1 on.
    """
    of_x, of_y = moments.side_x, moments.side_y
    kept = Kept(of_x.standardised.count, of_y.standardised.count)
    if moments.constant_reason is not None:
        return Regression(None, None, kept, moments.constant_reason)
    return Regression(_explained(of_x, moments.sxy.T, of_y), _explained(of_y, moments.sxy, of_x), kept)


def _explained(target: Side, cross: torch.Tensor, source: Side) -> float:
    """Return the share of the target's variance in the span of the source; cross is (source, target)."""
    total = target.squares.sum()
    fitted = source.standardised.whitening.T @ (cross / total.sqrt())  # (kept source, target)
    return min(1.0, float(fitted.square().sum()))

"""Movement of weight tensors between two state dicts, tensor by tensor: never one number for the whole
network.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


class MismatchedStates(ValueError):
    """Two state dicts are not of one model: names or shapes differ."""


@dataclass(frozen=True)
class LayerMovement:
    """Movement of one weight tensor; a missing number comes with a `reason`.

    `layer`: module path; `tensor`: the tensor's name in it. `relative_l2`: norm(W - W0) / norm(W0), 0 when
    nothing moved, sqrt(2) for an independent draw of the same size. `cosine`: of W and W0, in [-1, 1].
    """

    layer: str
    tensor: str
    relative_l2: float | None
    cosine: float | None
    reason: str | None = None


def weight_movement(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[LayerMovement]:
    """Measure every floating tensor with two or more axes, in the order of `before`; biases and norms are
    left out.

    Raises `MismatchedStates` when names or shapes of any tensor differ.
    """
    _require_same_model(before, after)
    return [
        _movement(name, tensor, after[name])
        for name, tensor in before.items()
        if tensor.ndim >= 2 and tensor.is_floating_point()
    ]


def relative_l2(before: Tensor, after: Tensor) -> float | None:
    """Return norm(W - W0) / norm(W0), W0 = before and W = after, in float64.

    None when W0 is zero or either holds NaN or infinity. Raises `MismatchedStates` on different shapes.
    """
    start, end = flat_pair(before, after)
    if _not_finite(start, end) is not None or not start.any():
        return None
    return float((end - start).norm() / start.norm())


def cosine(before: Tensor, after: Tensor) -> float | None:
    """Return the cosine of two weight tensors taken as vectors, in [-1, 1], in float64.

    None when either is zero or holds NaN or infinity. Raises `MismatchedStates` on different shapes.
    """
    start, end = flat_pair(before, after)
    if _reason(start, end) is not None:
        return None
    return float((start / start.norm() @ (end / end.norm())).clamp(-1, 1))


def flat_pair(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as float64 vectors on the CPU. Raises `MismatchedStates` on different shapes."""
    if before.shape != after.shape:
        raise MismatchedStates(f"shapes differ: {tuple(before.shape)} before, {tuple(after.shape)} after")
    return before.detach().cpu().double().flatten(), after.detach().cpu().double().flatten()


def _movement(name: str, before: Tensor, after: Tensor) -> LayerMovement:
    layer, _, tensor = name.rpartition(".")
    reason = _reason(*flat_pair(before, after))
    return LayerMovement(layer, tensor, relative_l2(before, after), cosine(before, after), reason)


def _reason(before: Tensor, after: Tensor) -> str | None:
    """Say why a number is missing, None when both exist."""
    zero = [when for when, weights in (("before", before), ("after", after)) if not weights.any()]
    return _not_finite(before, after) or (f"all weights are zero {' and '.join(zero)}" if zero else None)


def _not_finite(before: Tensor, after: Tensor) -> str | None:
    for when, weights in (("before", before), ("after", after)):
        if not bool(weights.isfinite().all()):
            return f"the weights {when} hold NaN or infinity"
    return None


def _require_same_model(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    complaints = [f"{name} is missing after" for name in before if name not in after]
    complaints += [f"{name} is missing before" for name in after if name not in before]
    complaints += [
        f"{name} is {tuple(before[name].shape)} before and {tuple(after[name].shape)} after"
        for name in before
        if name in after and before[name].shape != after[name].shape
    ]
    if complaints:
        raise MismatchedStates("the two states are not of one model: " + "; ".join(complaints))

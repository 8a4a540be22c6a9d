"""Streaming second moments of two layers on the same samples: all that the similarities need; activations
are not kept.

Limits: a direction whose variance is below about 1e-13 of the largest (in units where each neuron has
variance 1) cannot be told from rounding, since forming moments squares the condition number. Such directions
are cut and not reported as kept.
"""

from collections.abc import Mapping
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_core.science.similarity.directions import Side
from transfusion_core.science.similarity.guard import NonFiniteActivations
from transfusion_core.science.similarity.lengths import Lengths, Scatter

Samples: TypeAlias = Tensor | NDArray[Any]

# Rows turned to float64 at a time: 8192 samples of 2048 neurons are 128 MiB.
ROWS_AT_A_TIME = 8192
# Fourth powers of activations are summed, and float64 ends at 1.8e308. Only float64 inputs can be this large.
LARGEST = 1e70


class Moments:
    """Count, means and centred scatter of x (n, p) and y (n, q) in float64, the same for any split into
    batches.

    `n` counts samples. For convolutions every spatial position is a sample, and positions of one image are
    not independent, so the n that a test or an interval may rely on is nearer to the number of images.

    Each batch is shifted by the running mean before it is multiplied, so a large mean costs no digits.
    Accumulators of different samples merge exactly: M = M1 + M2 + n1 n2 / (n1 + n2) d d^T (Chan, Golub,
    LeVeque 1979).

    Attributes: `n`, `p`, `q`; `mean_x` (p,), `mean_y` (q,); `sxx` (p, p), `sxy` (p, q), `syy` (q, q),
    centred and not divided by n; `lengths` for the debiased CKA; `resolution_x`, `resolution_y`: coarsest
    machine epsilon of the inputs, because the rounding of float16 activations must not pass for directions.
    """

    def __init__(self, p: int, q: int, *, device: torch.device | str = "cpu") -> None:
        """Start with no samples of layers with p and q neurons; sums live on `device`, which must know
        float64.
        """
        if p < 1 or q < 1:
            raise ValueError(f"a layer has at least one neuron, got p = {p} and q = {q}")
        self.p, self.q, self.n = p, q, 0
        self.mean_x = torch.zeros(p, dtype=torch.float64, device=device)
        self.mean_y = torch.zeros(q, dtype=torch.float64, device=device)
        nothing = Scatter.of(self.mean_x[None, :], self.mean_y[None, :])  # one sample at the mean scatters nowhere
        self.sxx, self.sxy, self.syy = nothing.xx, nothing.xy, nothing.yy
        self.lengths = Lengths.of(self.mean_x[None, :], self.mean_y[None, :])
        self.resolution_x = self.resolution_y = torch.finfo(torch.float64).eps
        self._sides: tuple[Side, Side] | None = None

    def update(self, x: Samples, y: Samples) -> None:
        """Add samples x (n, p) and y (n, q) of any float dtype, row i of both from the same sample.

        Raises ValueError on other shapes and `NonFiniteActivations` on NaN, infinity or overflow, before
        anything is added.
        """
        x, y = _as_tensor(x), _as_tensor(y)
        self._check(x, y)
        for rows_x, rows_y in zip(torch.split(x, ROWS_AT_A_TIME), torch.split(y, ROWS_AT_A_TIME), strict=True):
            self._update_block(rows_x.to(self.mean_x), rows_y.to(self.mean_y))
        self.resolution_x = max(self.resolution_x, _resolution(x))
        self.resolution_y = max(self.resolution_y, _resolution(y))

    def merge(self, other: "Moments") -> Self:
        """Add the samples of `other`, left as it was, and return self; ValueError on other p or q."""
        if (self.p, self.q) != (other.p, other.q):
            raise ValueError(f"cannot merge moments of ({other.p}, {other.q}) into ({self.p}, {self.q}) neurons")
        theirs = other.to(self.mean_x.device)
        # An empty accumulator has no mean to be near to: taking over theirs avoids a shift by the whole mean.
        if self.n == 0:
            self.mean_x, self.mean_y = theirs.mean_x, theirs.mean_y
        scatter = Scatter(theirs.n, theirs.sxx, theirs.sxy, theirs.syy)
        self._absorb(scatter, theirs.lengths, theirs.mean_x - self.mean_x, theirs.mean_y - self.mean_y)
        self.resolution_x = max(self.resolution_x, other.resolution_x)
        self.resolution_y = max(self.resolution_y, other.resolution_y)
        return self

    def save(self) -> dict[str, Tensor]:
        """Return everything as float64 tensors that share no memory, fit for safetensors."""
        tensors = {name: getattr(self, name) for name in ("mean_x", "mean_y", "sxx", "sxy", "syy")}
        tensors |= {f"lengths.{name}": tensor for name, tensor in vars(self.lengths).items()}
        tensors["n"] = torch.tensor(self.n, dtype=torch.int64)
        tensors["resolution"] = torch.tensor([self.resolution_x, self.resolution_y], dtype=torch.float64)
        return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor]) -> "Moments":
        """Rebuild what `save` returned. Raises KeyError when a tensor is missing."""
        moments = cls(len(tensors["mean_x"]), len(tensors["mean_y"]), device=tensors["mean_x"].device)
        for name in ("mean_x", "mean_y", "sxx", "sxy", "syy"):
            setattr(moments, name, tensors[name].clone())
        moments.lengths = Lengths(**{name: tensors[f"lengths.{name}"].clone() for name in vars(moments.lengths)})
        moments.n = int(tensors["n"])
        moments.resolution_x, moments.resolution_y = tensors["resolution"].tolist()
        return moments

    def to(self, device: torch.device | str) -> "Moments":
        """Return a copy whose sums live on `device`."""
        return Moments.load({name: tensor.to(device) for name, tensor in self.save().items()})

    @property
    def side_x(self) -> Side:
        """The first layer, with its decomposition kept until the next sample arrives."""
        return self._both_sides()[0]

    @property
    def side_y(self) -> Side:
        """The second layer, with its decomposition kept until the next sample arrives."""
        return self._both_sides()[1]

    @property
    def constant_reason(self) -> str | None:
        """Say which layer does not vary over the samples, None when both do."""
        names = [name for name, side in (("first", self.side_x), ("second", self.side_y)) if side.constant]
        if not names:
            return None
        return f"the {' and the '.join(names)} layer does not vary over the {self.n} samples"

    def _both_sides(self) -> tuple[Side, Side]:
        if self._sides is None:
            first = Side(self.n, self.sxx, self.mean_x, self.resolution_x)
            self._sides = first, Side(self.n, self.syy, self.mean_y, self.resolution_y)
        return self._sides

    def _check(self, x: Tensor, y: Tensor) -> None:
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or (x.shape[1], y.shape[1]) != (self.p, self.q):
            expected = f"x (n, {self.p}) and y (n, {self.q})"
            raise ValueError(f"expected {expected}, got {tuple(x.shape)} and {tuple(y.shape)}")
        for name, samples in (("x", x), ("y", y)):
            if not bool(samples.isfinite().all()):
                raise NonFiniteActivations(f"{name} holds NaN or infinity in {len(samples)} samples")
            if samples.dtype == torch.float64 and bool((samples.abs() > LARGEST).any()):
                raise NonFiniteActivations(f"{name} holds numbers beyond {LARGEST:g}, whose moments overflow")

    def _update_block(self, x: Tensor, y: Tensor) -> None:
        """Add float64 rows: shift by the running mean, centre on their own mean, then move to the common
        mean.
        """
        if len(x) == 0:
            return
        if self.n == 0:
            self.mean_x, self.mean_y = x[0].clone(), y[0].clone()  # exact for a neuron that never varies
        x, y = x - self.mean_x, y - self.mean_y
        shift_x, shift_y = x.mean(0), y.mean(0)
        x, y = x - shift_x, y - shift_y
        self._absorb(Scatter.of(x, y), Lengths.of(x, y), shift_x, shift_y)

    def _absorb(self, theirs: Scatter, lengths: Lengths, shift_x: Tensor, shift_y: Tensor) -> None:
        """Add sums of other samples whose means lie `shift` beyond ours."""
        n = self.n + theirs.n
        if n == 0:
            return
        share = theirs.n / n  # the part of the way that the mean moves towards theirs
        mine = Scatter(self.n, self.sxx, self.sxy, self.syy)
        near = self.lengths.about(share * shift_x, share * shift_y, scatter=mine)
        far = lengths.about((share - 1) * shift_x, (share - 1) * shift_y, scatter=theirs)
        weight = self.n * share  # n1 n2 / (n1 + n2)
        self.lengths = near + far
        self.sxx = (self.sxx + theirs.xx).addr_(shift_x, shift_x, alpha=weight)
        self.sxy = (self.sxy + theirs.xy).addr_(shift_x, shift_y, alpha=weight)
        self.syy = (self.syy + theirs.yy).addr_(shift_y, shift_y, alpha=weight)
        self.mean_x = self.mean_x + share * shift_x
        self.mean_y = self.mean_y + share * shift_y
        self.n, self._sides = n, None


def _as_tensor(samples: Samples) -> Tensor:
    if isinstance(samples, Tensor):
        return samples.detach()
    # A copy: torch warns of read-only arrays, refuses reversed ones and does not know every numpy float.
    known = samples.dtype in (np.float16, np.float32, np.float64)
    return torch.from_numpy(np.array(samples, dtype=samples.dtype if known else np.float64, order="C"))


def _resolution(samples: Tensor) -> float:
    """Return the machine epsilon of a float tensor; whole numbers count as exact."""
    return torch.finfo(samples.dtype).eps if samples.is_floating_point() else 0.0

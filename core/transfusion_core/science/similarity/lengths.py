"""Sums over the squared lengths of samples: what the debiased CKA needs beyond second moments.

Write k_i = |x_i|^2 and l_i = |y_i|^2 for centred samples. The unbiased HSIC (Song et al., JMLR 2012) drops
the diagonals of the two Gram matrices, and those diagonals are k and l. Their products sum(k k), sum(k l),
sum(l l) depend on the mean, so the four vectors sum(k x), sum(k y), sum(l x), sum(l y) go with them: with
these seven the sums move exactly to any other mean, which is what makes them merge.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scatter:
    """Centred scatter of n samples: `xx` (p, p), `xy` (p, q), `yy` (q, q), float64, not divided by n."""

    n: int
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Scatter":
        """Multiply centred samples x (n, p) and y (n, q)."""
        return cls(len(x), x.T @ x, x.T @ y, y.T @ y)


@dataclass(frozen=True, eq=False)
class Lengths:
    """Seven sums about one mean: `kk`, `kl`, `ll` scalars; `kx`, `lx` (p,); `ky`, `ly` (q,); all float64."""

    kk: Tensor
    kl: Tensor
    ll: Tensor
    kx: Tensor
    ky: Tensor
    lx: Tensor
    ly: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Lengths":
        """Sum over centred samples x (n, p) and y (n, q)."""
        k, l_ = x.square().sum(1), y.square().sum(1)  # (n,), (n,)
        return cls(kk=k @ k, kl=k @ l_, ll=l_ @ l_, kx=k @ x, ky=k @ y, lx=l_ @ x, ly=l_ @ y)

    def __add__(self, other: "Lengths") -> "Lengths":
        """Add sums of other samples about the same mean."""
        mine, theirs = vars(self), vars(other)
        return Lengths(**{name: mine[name] + theirs[name] for name in mine})

    def about(self, dx: Tensor, dy: Tensor, *, scatter: Scatter) -> "Lengths":
        """Return the same sums about means that lie dx (p,) and dy (q,) further on.

        From |x - d|^2 = k - 2 d.x + |d|^2 and sum(x) = sum(y) = 0 about the present mean.
        """
        n, trace_x, trace_y = scatter.n, scatter.xx.trace(), scatter.yy.trace()
        ddx, ddy = dx @ dx, dy @ dy
        xx_dx, xy_dy = scatter.xx @ dx, scatter.xy @ dy  # (p,), (p,)
        yx_dx, yy_dy = dx @ scatter.xy, scatter.yy @ dy  # (q,), (q,)
        return Lengths(
            kk=self.kk - 4 * dx @ self.kx + 2 * ddx * trace_x + 4 * dx @ xx_dx + n * ddx * ddx,
            kl=self.kl
            - 2 * (dy @ self.ky + dx @ self.lx)
            + ddy * trace_x
            + ddx * trace_y
            + 4 * dx @ xy_dy
            + n * ddx * ddy,
            ll=self.ll - 4 * dy @ self.ly + 2 * ddy * trace_y + 4 * dy @ yy_dy + n * ddy * ddy,
            kx=self.kx - 2 * xx_dx - (trace_x + n * ddx) * dx,
            ky=self.ky - 2 * yx_dx - (trace_x + n * ddx) * dy,
            lx=self.lx - 2 * xy_dy - (trace_y + n * ddy) * dx,
            ly=self.ly - 2 * yy_dy - (trace_y + n * ddy) * dy,
        )

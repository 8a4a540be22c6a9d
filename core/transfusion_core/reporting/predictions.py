"""What a run's final weights said of each test image, as a report reads it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of the test images, in the order that is the same for all runs on a dataset."""

    labels: list[str]
    """Classes, thresholds `>=t`, or labels: what has an AUROC each."""
    scores: NDArray[np.float64]
    """Log-odds, (n, labels)."""
    truth: NDArray[np.float32]
    """1, 0, or NaN where nobody knows, (n, labels)."""
    patients: NDArray[np.int64] | None = None
    """Whose image each is, as numbers, (n,); None where patients are not known."""

    @property
    def broken(self) -> bool:
        """Whether a score is not a number that can be ranked."""
        return not bool(np.isfinite(self.scores).all())

    def known(self, label: str) -> NDArray[np.bool_]:
        """Which images have this label, (n,)."""
        known: NDArray[np.bool_] = ~np.isnan(self.truth[:, self.labels.index(label)])
        return known

"""When a similarity may be computed at all, and when its number must carry a warning."""


class TooFewSamples(ValueError):
    """There are not enough samples for canonical correlations to say anything about the two layers.

    With n <= max(p, q) samples the centred samples span no more than the neurons do, so every correlation is
    1 for any two layers whatsoever.
    """

    def __init__(self, n: int, p: int, q: int, *, more_than: int, offer: str) -> None:
        """Keep the sizes: `n` samples, compared dimensions `p` and `q`, and what n has to exceed."""
        self.n, self.p, self.q = n, p, q
        super().__init__(
            f"n = {n} samples are too few for canonical correlations of p = {p} and q = {q} dimensions: "
            f"n must exceed {more_than}; {offer}"
        )


class NonFiniteActivations(ValueError):
    """An activation is infinite or not a number, so no moment of the layer exists."""

    def __init__(self, layer: str, fault: str) -> None:
        """Keep which `layer` it is, and its `fault`."""
        self.layer, self.fault = layer, fault
        super().__init__(f"{layer} {fault}")


def require_more_samples_than_neurons(n: int, p: int, q: int) -> None:
    """Raise `TooFewSamples` unless n > max(p, q)."""
    if n <= max(p, q):
        offer = "use svcca or linear cka, or give more samples"
        raise TooFewSamples(n, p, q, more_than=max(p, q), offer=offer)


def require_free_samples(n: int, kept_x: int, kept_y: int) -> None:
    """Raise `TooFewSamples` when the directions kept fill all n - 1 dimensions that centred samples have."""
    if n - 1 <= max(kept_x, kept_y):
        offer = "use linear cka, keep less variance, or give more samples"
        raise TooFewSamples(n, kept_x, kept_y, more_than=max(kept_x, kept_y) + 1, offer=offer)


def few_samples_warnings(n: int, p: int, q: int) -> list[str]:
    """Say whether n samples are few for layers of p and q neurons; an empty list when they are not.

    Five samples per neuron is the usual rule for canonical correlations: there the correlation of independent noise
    is still about 0.4, below it the noise takes over. Neurons count, not the directions that a measure keeps of them:
    which those are was chosen on the same samples.
    """
    if n >= 5 * max(p, q):
        return []
    return [f"n = {n} is less than 5 max(p, q) = {5 * max(p, q)}: the value means nothing without its nulls beside it"]


def sampling_warnings(n: int, p: int, q: int, *, kept: tuple[int, int] | None = None) -> list[str]:
    """Say what is wrong with n samples for correlations of p and q neurons; an empty list when nothing is.

    `kept`: the directions that are correlated, where they are fewer. Beyond n - 1 of them together the two spans must
    meet, so some correlations are 1 by arithmetic alone.
    """
    warnings = few_samples_warnings(n, p, q)
    of_x, of_y = kept or (p, q)
    forced = min(of_x, of_y, max(0, of_x + of_y - (n - 1)))
    if forced:
        warnings.append(
            f"at n = {n} at least {forced} of {min(of_x, of_y)} canonical correlations are 1 by arithmetic alone"
        )
    return warnings

from collections.abc import Callable

import pytest
from torch import Tensor

from transfusion_core.science.inits.initialise import initialise
from transfusion_core.science.models.build import build_random, head_names
from transfusion_core.specs.init import InitSpec, WeightReport

State = dict[str, Tensor]
Start = Callable[..., tuple[State, WeightReport]]


@pytest.fixture
def start() -> Start:
    """Builds a network, initialises it and gives its tensors with the report."""

    def started(
        init: InitSpec,
        *,
        source: State | None = None,
        name: str = "cbr-tiny",
        seed: int = 0,
        size: int = 32,
        channels: int = 3,
    ) -> tuple[State, WeightReport]:
        model = build_random(name, classes=2, channels=channels, image_size=size, seed=seed)
        report = initialise(
            model, init, source=source, source_digest="d" * 64 if source else None, head=head_names(model), seed=seed
        )
        return model.state_dict(), report

    return started


@pytest.fixture
def trained() -> Callable[..., State]:
    """The tensors of a network whose batch norms and biases are no longer as they were built."""

    def state(name: str = "cbr-tiny", *, classes: int = 7, channels: int = 3, size: int = 32) -> State:
        model = build_random(name, classes=classes, channels=channels, image_size=size, seed=99)
        tensors = model.state_dict()
        for key, tensor in tensors.items():
            if tensor.is_floating_point():
                tensor.add_(0.25)
            elif key.endswith("num_batches_tracked"):
                tensor.fill_(17)
        return tensors

    return state

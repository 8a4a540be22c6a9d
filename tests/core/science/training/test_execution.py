"""How updates are computed changes their digits at most, and a training that continues computes as it did."""

import time

import pytest
import torch
from torch import nn

from transfusion_core.errors import DataError, JobCancelled
from transfusion_core.science.training import execution
from transfusion_core.science.training.execution import EAGER, Execution, numerics
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.training import TrainingSpec

SPEC = TrainingSpec(steps=12, eval_every=6, batch_size=8, checkpoints=0, clip_norm=1.0, lr=0.01)


def spec(**changed: object) -> TrainingSpec:
    return TrainingSpec.model_validate({**SPEC.model_dump(), **changed})


class StopsAfter(Hooks):
    """Stops after so many steps and writes the state."""

    def __init__(self, step: int, path) -> None:
        self.after, self.path, self.step = step, path, 0

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        self.step = step

    def should_stop(self) -> bool:
        return self.step == self.after

    def on_state(self, state: TrainingState) -> None:
        state.save(self.path)


@pytest.fixture
def run(make_data, make_model, cpu):
    def run(training: TrainingSpec, **more):
        model = make_model()
        return model, train(model, make_data(), training, task="multiclass", seed=0, device=cpu, **more)

    return run


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_other_precisions_train_nearly_the_same_weights_in_float32(run, precision: str) -> None:
    whole, expected = run(SPEC)
    model, trained = run(spec(precision=precision))
    assert trained.execution == {"precision": precision, "mode": EAGER, "milliseconds": {}}
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == whole.state_dict()[name].dtype
        torch.testing.assert_close(tensor, whole.state_dict()[name], rtol=0.2, atol=0.05)
    assert trained.metrics["val"].loss == pytest.approx(expected.metrics["val"].loss, abs=0.05)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_continues_bit_for_bit(run, tmp_path, precision: str) -> None:
    training = spec(precision=precision)
    whole, expected = run(training)
    for step in range(1, SPEC.steps):
        with pytest.raises(JobCancelled):
            run(training, hooks=StopsAfter(step, tmp_path / "state"))
        resumed, found = run(training, resume=TrainingState.load(tmp_path / "state")[0])
        assert found.metrics == expected.metrics
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_scale_of_float16_losses_is_kept(tmp_path, make_model, cpu) -> None:
    halved = Execution(spec(precision="fp16"), cpu)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    halved.backward(model(torch.rand(2, 3, 8, 8)).sum() * float("inf"))
    before = [parameter.clone() for parameter in model.parameters()]
    halved.update(optimizer, model, clip_norm=None)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)), "a step of infinities"
    again = Execution(spec(precision="fp16"), cpu)
    again.restore(halved.state())
    assert again.state() == halved.state()
    assert again.state()["scaler"]["scale"] == 2.0**15


def test_a_state_without_how_it_was_computed_is_refused(cpu) -> None:
    with pytest.raises(DataError, match="how a training was computed"):
        Execution(SPEC, cpu).restore({"mode": "eager"})


@pytest.mark.parametrize(("seconds", "chosen"), [(0.0, "default"), (0.05, EAGER)])
def test_the_faster_mode_is_taken_and_the_model_left_as_it_was(monkeypatch, make_model, cpu, seconds, chosen) -> None:
    def compiled(model: nn.Module, mode: str):
        return lambda images: (time.sleep(seconds), model(images))[1]

    monkeypatch.setattr(execution, "_compiled", compiled)
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def passes(network) -> None:
        slow = 0.02 if isinstance(network, nn.Module) else 0.0
        time.sleep(slow)
        network(torch.rand(2, 3, 8, 8)).sum().backward()

    measured = Execution(spec(compile="measure"), cpu)
    measured.choose(model, passes)
    assert measured.mode == chosen
    assert set(measured.told()["milliseconds"]) == {EAGER, "default"}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_mode_that_fails_is_not_taken_and_the_training_goes_on(run, monkeypatch) -> None:
    def broken(model: nn.Module, mode: str):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(execution, "_compiled", broken)
    whole, _ = run(SPEC)
    model, trained = run(spec(compile="measure"))
    assert trained.execution["mode"] == EAGER
    assert trained.execution["milliseconds"]["default"] is None
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))


def test_a_compiled_training_continues_compiled_and_bit_for_bit(run, monkeypatch, tmp_path) -> None:
    # The whole of torch.compile but its last stage, which needs a C++ compiler and half a minute.
    monkeypatch.setattr(execution, "_compiled", lambda model, mode: torch.compile(model, backend="aot_eager"))
    monkeypatch.setattr(execution, "WORTH", 1e9)  # whatever it takes
    training = spec(compile="measure")
    whole, trained = run(training)
    assert trained.execution["mode"] == "default", trained.execution
    with pytest.raises(JobCancelled):
        run(training, hooks=StopsAfter(5, tmp_path / "state"))
    monkeypatch.setattr(execution, "_milliseconds", None)  # nothing is measured again
    resumed, _ = run(training, resume=TrainingState.load(tmp_path / "state")[0])
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_torch_is_left_as_it_was(cpu, make_data) -> None:
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with numerics(spec(precision="tf32", deterministic=False), cpu):
        assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
    assert before == (
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
    )
    with numerics(SPEC, cpu):
        assert not torch.backends.cudnn.allow_tf32

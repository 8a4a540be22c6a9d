"""A training that goes on from its saved state ends bit for bit as the one that never stopped."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import Adam

from transfusion_core.errors import DataError, JobCancelled
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import Trained, train
from transfusion_core.science.training.losses import loss, share
from transfusion_core.science.training.optimizers import OPTIMIZERS
from transfusion_core.science.training.state import TrainingState, group_tensors, optimizer_tensors, restore
from transfusion_core.specs.training import EarlyStopping, TrainingSpec

SPEC = TrainingSpec(steps=14, eval_every=5, batch_size=8, checkpoints=2, weight_decay=0.01)


class Saver(Hooks):
    """Saves the state after the steps named, and stops after `stop_after`."""

    def __init__(self, folder: Path, *, at: tuple[int, ...] = (), stop_after: int | None = None) -> None:
        self.folder, self.at, self.stop_after, self.step = folder, at, stop_after, 0

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        self.step = step

    def should_stop(self) -> bool:
        return self.step == self.stop_after

    def wants_state(self, step: int) -> bool:
        return step in self.at

    def on_state(self, state: TrainingState) -> None:
        state.save(self.folder / f"{state.step}.safetensors", note=[state.step])


def _no_time() -> float:
    return 0.0


@pytest.fixture
def run(make_data, make_model, cpu):
    """Train a fresh network on fresh data."""

    def run(spec: TrainingSpec = SPEC, *, seed: int = 0, task: str = "multiclass", **more) -> tuple[nn.Module, Trained]:
        model = make_model(seed=1 if more.get("resume") else 0)  # a resumed one does not start from its own weights
        data = more.pop("data", None) or make_data(task)
        return model, train(model, data, spec, task=task, seed=seed, device=cpu, clock=_no_time, **more)

    return run


def _equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_interrupted_at_every_step_it_ends_as_if_it_had_not_been(run, tmp_path, optimizer: str) -> None:
    recipe = {"schedule": "cosine", "warmup_steps": 3, "clip_norm": 1.0, "label_smoothing": 0.1}
    _ends_alike(partial(run, SPEC.model_copy(update={"optimizer": optimizer, **recipe})), tmp_path)


def test_interrupted_at_every_step_of_forty_it_ends_as_if_it_had_not_been(run, tmp_path) -> None:
    assert _ends_alike(partial(run, SPEC.model_copy(update={"steps": 40, "eval_every": 13})), tmp_path).steps == 40


PLATEAU = {"schedule": "plateau", "plateau_patience": 1, "step_factor": 0.5}
EARLY = {"early_stopping": EarlyStopping(patience=2), "lr": 0.1}


@pytest.mark.parametrize(
    "recipe",
    [
        {"ema": 0.7},
        PLATEAU,
        EARLY,
        {"class_weights": "balanced"},
        {"decay_norms": False},
        {"layer_decay": 0.5},
        {"freeze": "stage1"},
        {"freeze": "all"},
        {"retry_on_divergence": True},
        {"ema": 0.7, **PLATEAU, **EARLY, "layer_decay": 0.5, "decay_norms": False, "retry_on_divergence": True},
    ],
    ids="+".join,
)
def test_interrupted_at_every_step_each_recipe_ends_as_if_it_had_not_been(
    make_staged, make_noisy, cpu, tmp_path, recipe
) -> None:
    spec = SPEC.model_copy(update={"eval_every": 2, **recipe})

    def run(**more) -> tuple[nn.Module, Trained]:
        model = make_staged(seed=1 if more.get("resume") else 0)
        return model, train(model, make_noisy(), spec, task="multiclass", seed=0, device=cpu, clock=_no_time, **more)

    expected = _ends_alike(run, tmp_path)
    assert (expected.steps < spec.steps) == ("early_stopping" in recipe)


def _ends_alike(run: Callable[..., tuple[nn.Module, Trained]], folder: Path) -> Trained:
    whole, expected = run()
    for step in range(expected.steps):
        with pytest.raises(JobCancelled):
            run(hooks=Saver(folder, stop_after=step))
        state, extra = TrainingState.load(folder / f"{step}.safetensors")
        assert (state.step, extra) == (step, {"note": [step]})
        resumed, found = run(resume=state)
        assert _equal(whole, resumed), step
        assert found == expected
        assert torch.equal(found.test_logits, expected.test_logits)
    return expected


def test_states_told_on_the_way_change_nothing_and_serve_as_well(run, tmp_path) -> None:
    whole, expected = run()
    told, found = run(hooks=Saver(tmp_path, at=tuple(range(1, 20))))
    assert _equal(whole, told)
    assert found == expected
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == list(range(1, SPEC.steps))
    assert _equal(whole, run(resume=TrainingState.load(tmp_path / "13.safetensors")[0])[0])


@pytest.mark.parametrize("without", ["optimizer", "weights", "step", "average", "best"])
def test_each_part_of_the_state_is_needed(run, make_noisy, tmp_path, make_model, without: str) -> None:
    recipe = {"average": {"ema": 0.9}, "best": {**EARLY, "eval_every": 2}}.get(without, {})
    run = partial(run, SPEC.model_copy(update=recipe), data=make_noisy())
    whole, expected = run()
    run(hooks=Saver(tmp_path, at=(step := 6 if expected.best_step is None else expected.best_step,)))
    state = TrainingState.load(tmp_path / f"{step}.safetensors")[0]
    other = make_model(seed=5).state_dict()
    less = {"optimizer": {}, "weights": other, "step": 5, "average": other, "best": None}[without]
    assert not _equal(whole, run(resume=replace(state, **{without: less}))[0])


def test_the_optimizer_comes_back_in_the_layout_of_the_weights(tmp_path) -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = Adam(model.parameters(), fused=True)
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    path = tmp_path / "state.safetensors"
    TrainingState(1, 0.0, model.state_dict(), optimizer_tensors(optimizer), group_tensors(optimizer), [], [], {}).save(
        path
    )
    again = Adam(model.parameters(), fused=True)
    restore(model, again, TrainingState.load(path)[0])
    for name, value in optimizer.state[model.weight].items():
        assert torch.equal(again.state[model.weight][name], value)
        assert again.state[model.weight][name].stride() == value.stride()


def _of_another_model(path: Path) -> None:
    state = TrainingState(3, 0.0, {"other.weight": torch.zeros(2)}, {}, {}, [], [], {})
    state.save(path)


def _with_a_best_of_nothing(path: Path) -> None:
    about = {"step": 1, "seconds": 0.0, "losses": [], "series": [], "execution": {}, "best": {"step": 1}, "extra": {}}
    save_file({"a": torch.zeros(1)}, path, {"state": json.dumps(about)})


def _of_a_late_step(path: Path) -> None:
    TrainingState(SPEC.steps, 0.0, {}, {}, {}, [], [], {}).save(path)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.write_bytes(b"not safetensors"), "expected a safetensors file"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "expected the state of a training"),
        (lambda path: save_file({"a": torch.zeros(1)}, path, {"state": "[1, 2]"}), "expected the state of a training"),
        (lambda path: save_file({"a": torch.zeros(1)}, path, {"state": json.dumps({"step": 1})}), "'series'|'seconds'"),
        (_of_another_model, "expected the state of this training, got another's"),
        (_with_a_best_of_nothing, "expected the state of a training.*metrics"),
        (_of_a_late_step, "expected the state of a step below 14, got that of step 14"),
    ],
)
def test_what_is_no_state_of_this_training_is_refused(run, tmp_path, write: Callable[[Path], None], told: str) -> None:
    path = tmp_path / "state.safetensors"
    write(path)
    with pytest.raises(DataError, match=told):
        run(resume=TrainingState.load(path)[0])


@pytest.mark.parametrize("class_weights", [None, "balanced", [5.0, 0.5]], ids=str)
@pytest.mark.parametrize("task", ["multiclass", "ordinal", "multilabel"])
def test_gradients_of_parts_add_up_to_those_of_the_batch(make_data, cpu, task: str, class_weights) -> None:
    data = make_data(task)
    if task == "multilabel":
        data.labels[:24:3, 0] = float("nan")
    models = [nn.Sequential(nn.Flatten(), nn.Linear(192, 2)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    spec = TrainingSpec(steps=3, batch_size=8, optimizer="sgd", momentum=0.0, lr=0.1, class_weights=class_weights)
    for model, micro_batch in zip(models, (None, 3), strict=True):
        train(model, data, spec, task=task, seed=0, device=cpu, micro_batch=micro_batch)
    torch.testing.assert_close(models[0][1].weight, models[1][1].weight, rtol=1e-5, atol=1e-6)


def test_shares_of_parts_weigh_by_the_labels_that_are_present() -> None:
    labels = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan], [0.0, 1.0], [1.0, 0.0]])
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    parts = [(logits[:1], labels[:1]), (logits[1:2], labels[1:2]), (logits[2:], labels[2:])]
    total = sum(loss("multilabel", x, y) * share("multilabel", y, labels) for x, y in parts)
    torch.testing.assert_close(total, loss("multilabel", logits, labels))
    nothing = torch.full((2, 2), torch.nan)
    assert share("multilabel", nothing[:1], nothing) == 0.0

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError, Diverged, JobCancelled, OutOfMemory
from transfusion_core.science.data import sampling
from transfusion_core.science.training.batches import Sampling
from transfusion_core.science.training.hooks import Hooks, Point
from transfusion_core.science.training.loop import train
from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.training import TrainingSpec

SHORT = TrainingSpec(steps=12, eval_every=5, batch_size=8, checkpoints=2)


class Listener(Hooks):
    """Writes down what it hears, and asks to stop after `stop_after` updates."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after, self.step = stop_after, 0
        self.points: list[tuple[int, list[Point]]] = []
        self.kept: list[tuple[int, str]] = []
        self.weights: dict[str, dict[str, Tensor]] = {}
        self.progress: list[tuple[int, int, float]] = []
        self.states: list[int] = []

    def on_points(self, step: int, points: Sequence[Point]) -> None:
        self.points.append((step, list(points)))

    def on_checkpoint(self, step: int, name: str, state_dict: Mapping[str, Tensor]) -> None:
        self.kept.append((step, name))
        self.weights[name] = {key: tensor.clone() for key, tensor in state_dict.items()}

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        self.step = step
        self.progress.append((step, steps, images_per_second))

    def should_stop(self) -> bool:
        return self.step == self.stop_after

    def on_state(self, state: TrainingState) -> None:
        self.states.append(state.step)


class BreaksAt(nn.Module):
    """Passes the network's answer on, times `factor` from the given training pass on."""

    def __init__(self, model: nn.Module, at: int, factor: float) -> None:
        super().__init__()
        self.model, self.at, self.factor, self.passes = model, at, factor, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.training
        answer: Tensor = self.model(images)
        return answer * self.factor if self.passes >= self.at else answer


def _equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture
def trained(make_data, make_model, cpu):
    """Train a fresh network on toy data and return it: what two calls share is only what they are given."""

    def run(training: TrainingSpec = SHORT, *, seed: int = 0, hooks: Hooks | None = None) -> nn.Module:
        model = make_model()
        train(model, make_data(), training, task="multiclass", seed=seed, device=cpu, hooks=hooks)
        return model

    return run


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_same_seed_gives_bit_identical_weights(trained, optimizer: str) -> None:
    spec = SHORT.model_copy(update={"optimizer": optimizer, "weight_decay": 0.01})
    assert _equal(trained(spec), trained(spec))


def test_another_seed_gives_other_weights(trained) -> None:
    assert not _equal(trained(seed=0), trained(seed=1))


def test_augmentation_reaches_the_images(make_data, make_model, cpu) -> None:
    seen = []
    data = make_data()
    for augmentation in ("none", "flip"):
        model = make_model()
        model.register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()) if m.training else None)
        spec = TrainingSpec(steps=1, batch_size=8, augmentation=augmentation)
        train(model, data, spec, task="multiclass", seed=0, device=cpu)
    plain, flipped = seen
    mirrored = [torch.equal(f, p.flip(2)) for p, f in zip(plain, flipped, strict=True)]
    untouched = [torch.equal(f, p) for p, f in zip(plain, flipped, strict=True)]
    assert all(m != u for m, u in zip(mirrored, untouched, strict=True))
    assert any(mirrored)
    assert any(untouched)


def test_neither_evaluations_nor_checkpoints_nor_listeners_change_the_weights(trained) -> None:
    often = SHORT.model_copy(update={"eval_every": 1, "checkpoints": 10})
    assert _equal(trained(), trained(often, hooks=Listener()))


def test_the_state_of_torchs_generator_neither_matters_nor_changes(trained) -> None:
    first = trained()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        before = torch.get_rng_state()
        assert _equal(first, trained())
        assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("task", "classes"), [("multiclass", 2), ("ordinal", 3), ("multilabel", 2)])
def test_a_separable_toy_is_learned(make_data, make_model, cpu, task: str, classes: int) -> None:
    spec = TrainingSpec(steps=80, eval_every=40, batch_size=16, lr=0.03)
    result = train(make_model(classes), make_data(task, classes), spec, task=task, seed=0, device=cpu)
    assert result.metrics["test"].auroc == 1.0
    curve = next(s for s in result.series if (s.name, s.split) == ("loss", "val"))
    assert curve.values[-1] < curve.values[0] / 2


def test_points_come_on_the_grid_and_are_the_series(make_data, make_model, cpu) -> None:
    hooks = Listener()
    result = train(make_model(), make_data(), SHORT, task="multiclass", seed=0, device=cpu, hooks=hooks)
    assert [step for step, _ in hooks.points] == [0, 5, 10, 12]
    assert {(s.name, s.split): s.steps for s in result.series} == {
        ("auroc", "val"): [0, 5, 10, 12],
        ("loss", "val"): [0, 5, 10, 12],
        ("auroc", "test"): [0, 5, 10, 12],
        ("loss", "test"): [0, 5, 10, 12],
        ("loss", "train"): [5, 10, 12],
    }
    last = {(name, split): value for name, split, value in hooks.points[-1][1]}
    assert last["auroc", "test"] == result.metrics["test"].auroc
    assert last["loss", "val"] == result.metrics["val"].loss
    assert result.steps == 12


def test_the_train_loss_is_the_mean_since_the_evaluation_before(trained) -> None:
    fine, coarse = Listener(), Listener()
    trained(SHORT.model_copy(update={"eval_every": 1}), hooks=fine)
    trained(SHORT, hooks=coarse)
    each = [p.value for _, points in fine.points for p in points if p.split == "train"]
    means = [p.value for _, points in coarse.points for p in points if p.split == "train"]
    expected = [sum(part) / len(part) for part in (each[:5], each[5:10], each[10:])]
    assert means == pytest.approx(expected, rel=1e-12)


def test_checkpoints_are_the_schedule_with_the_first_and_last_weights(make_model, trained) -> None:
    hooks = Listener()
    model = trained(hooks=hooks)
    assert hooks.kept == [(0, "init"), (2, "2"), (5, "5"), (12, "final")]
    start = make_model().state_dict()
    assert all(torch.equal(start[key], tensor) for key, tensor in hooks.weights["init"].items())
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in hooks.weights["final"].items())


def test_the_rate_counts_the_updates_only(make_data, make_model, cpu) -> None:
    ticks = itertools.count()
    hooks = Listener()
    result = train(
        make_model(),
        make_data(),
        SHORT,
        task="multiclass",
        seed=0,
        device=cpu,
        hooks=hooks,
        clock=lambda: next(ticks) * 0.5,
    )
    assert result.images_per_second == 8 / 0.5
    assert hooks.progress == [(step, 12, 16.0) for step in range(1, 13)]


def test_a_clock_that_stands_still_is_no_division_by_zero(make_data, make_model, cpu) -> None:
    result = train(make_model(), make_data(), SHORT, task="multiclass", seed=0, device=cpu, clock=lambda: 0.0)
    assert result.images_per_second == 0.0


@pytest.mark.parametrize("stop_after", [0, 2, 3])
def test_asked_to_stop_it_tells_its_state_and_says_where(trained, stop_after: int) -> None:
    hooks = Listener(stop_after=stop_after)
    with pytest.raises(JobCancelled, match=f"after step {stop_after} of 12"):
        trained(hooks=hooks)
    assert hooks.states == [stop_after]


def test_a_finished_training_is_not_cancelled(trained) -> None:
    trained(hooks=Listener(stop_after=12))


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [1, 4, 12])
def test_a_loss_that_is_not_finite_ends_the_training_and_names_the_step(
    make_data, make_model, cpu, at: int, factor: float
) -> None:
    hooks = Listener()
    with pytest.raises(
        Diverged, match=rf"in step {at}, on the images at rows (\d+, ){{7}}\d+; the last checkpoint is '\w+'$"
    ):
        train(
            BreaksAt(make_model(), at, factor),
            make_data(),
            SHORT,
            task="multiclass",
            seed=0,
            device=cpu,
            hooks=hooks,
        )
    assert all(step < at for step, _ in hooks.kept)


def test_a_stop_does_not_keep_weights_of_a_broken_loss(make_data, make_model, cpu) -> None:
    hooks = Listener(stop_after=8)
    model = BreaksAt(make_model(), 7, float("nan"))
    with pytest.raises(Diverged, match="in step 7, on"):
        train(model, make_data(), SHORT, task="multiclass", seed=0, device=cpu, hooks=hooks)


def test_weights_that_are_not_finite_are_never_kept(make_data, make_model, cpu) -> None:
    model, hooks = make_model(), Listener()
    with torch.no_grad():
        model[6].bias[0] = float("inf")
    with pytest.raises(Diverged, match=r"after step 0, got NaN or infinity in 6\.bias"):
        train(model, make_data(), SHORT, task="multiclass", seed=0, device=cpu, hooks=hooks)
    assert hooks.kept == []


def test_scores_that_overflow_before_the_first_update_are_a_gap_in_the_curve(make_data, cpu) -> None:
    class WarmsUp(nn.Module):
        """Overflows until it was trained once, as a deep network can whose batch norm has not settled."""

        def __init__(self) -> None:
            super().__init__()
            self.head, self.warm = nn.Linear(192, 2), False

        def forward(self, images: Tensor) -> Tensor:
            self.warm = self.warm or self.training
            answer: Tensor = self.head(images.flatten(1))
            return answer if self.warm else answer * float("inf")

    result = train(WarmsUp(), make_data(), SHORT, task="multiclass", seed=0, device=cpu)
    curve = next(s for s in result.series if (s.name, s.split) == ("auroc", "test"))
    assert curve.values[0] is None
    assert None not in curve.values[1:]


def test_a_split_of_one_class_leaves_gaps_and_a_reason(make_data, make_model, cpu) -> None:
    data = replace(make_data(), val=torch.arange(40, 60, 2))
    result = train(make_model(), data, SHORT, task="multiclass", seed=0, device=cpu)
    assert result.metrics["val"].auroc is None
    assert "always positive" in str(result.metrics["val"].reason)
    assert result.metrics["test"].auroc is not None


def test_running_out_of_memory_names_the_batch(make_data, cpu) -> None:
    class Hungry(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.flatten(1)) if not self.training else torch.empty(2**60)

    with pytest.raises(OutOfMemory, match="training on batches of 8 images of 8 x 8 pixels"):
        train(Hungry(192, 2), make_data(), SHORT, task="multiclass", seed=0, device=cpu)


def test_data_and_models_that_do_not_fit_are_refused(make_data, make_model, cpu) -> None:
    with pytest.raises(DataError, match="labels of shape"):
        train(make_model(), make_data(), SHORT, task="multilabel", seed=0, device=cpu)
    with pytest.raises(ValueError, match=r"logits of shape \(20, 2\)"):
        train(make_model(classes=3), make_data(), SHORT, task="multiclass", seed=0, device=cpu)


def test_the_platforms_own_sampling_fits(make_data, make_model, cpu) -> None:
    own = Sampling(sampling.batch_indices, sampling.epoch_of, sampling.uniform)
    hooks = Listener()
    train(make_model(), replace(make_data(), sampling=own), SHORT, task="multiclass", seed=0, device=cpu, hooks=hooks)
    assert hooks.step == 12


def test_memory_mapped_images_train_alike(make_data, make_model, cpu, tmp_path) -> None:
    data, a, b = make_data(), make_model(), make_model()
    (tmp_path / "images").write_bytes(data.images.numpy().tobytes())
    mapped = torch.from_file(str(tmp_path / "images"), size=data.images.numel(), dtype=torch.uint8)
    train(a, data, SHORT, task="multiclass", seed=0, device=cpu)
    train(b, replace(data, images=mapped.view_as(data.images)), SHORT, task="multiclass", seed=0, device=cpu)
    assert _equal(a, b)


def test_gradients_are_clipped_to_the_norm_of_the_recipe(trained, make_model) -> None:
    start = make_model()
    spec = TrainingSpec(steps=1, batch_size=8, optimizer="sgd", momentum=0.0, lr=1.0, clip_norm=1e-3)
    moved = [a - b for a, b in zip(start.parameters(), trained(spec).parameters(), strict=True)]
    length = torch.cat([each.flatten() for each in moved]).norm().item()
    assert length == pytest.approx(1e-3, rel=1e-3)


def test_the_schedule_reaches_the_optimizer(trained, make_model) -> None:
    cold = TrainingSpec(steps=1, batch_size=8, optimizer="sgd", momentum=0.0, lr=0.5)
    warm = TrainingSpec(steps=2, batch_size=8, optimizer="sgd", momentum=0.0, lr=0.5, warmup_steps=2)
    start, hooks = make_model(), Listener()
    trained(warm.model_copy(update={"checkpoints": 1}), hooks=hooks)
    whole = {name: p - q for (name, p), q in zip(trained(cold).named_parameters(), start.parameters(), strict=True)}
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(hooks.weights["1"][name] - parameter, whole[name] / 2, rtol=1e-3, atol=1e-6)

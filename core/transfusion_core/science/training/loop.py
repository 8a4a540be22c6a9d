"""The training loop: update, evaluate, keep weights, tell the hooks.

Everything drawn at random is a function of (seed, step), so where a training stands is its step, its weights and its
optimizer (see `state`). The same seed gives bit-identical weights on the same machine with the same number of threads;
on CUDA where the recipe is `deterministic`, as far as the model's operations have a deterministic kernel.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError, Diverged, JobCancelled
from transfusion_core.science.seeds import seed_dropout
from transfusion_core.science.training.augmentation import augment
from transfusion_core.science.training.averaging import Average
from transfusion_core.science.training.batches import TrainingData, check_data, to_device
from transfusion_core.science.training.curves import Curves, LossNotFinite, TrainLoss
from transfusion_core.science.training.evaluation import answers, check_logits, evaluate
from transfusion_core.science.training.execution import Execution, Network, numerics
from transfusion_core.science.training.feeding import Part, feed, resident
from transfusion_core.science.training.freezing import freeze
from transfusion_core.science.training.hooks import Hooks, Point
from transfusion_core.science.training.losses import class_weights, loss, share
from transfusion_core.science.training.memory import memory_errors
from transfusion_core.science.training.optimizers import build_optimizer
from transfusion_core.science.training.ranks import ALONE, Ranks, synchronise_norms
from transfusion_core.science.training.retrying import with_retry
from transfusion_core.science.training.schedule import (
    LAST,
    checkpoint_name,
    checkpoint_steps,
    evaluation_steps,
    learning_rate,
)
from transfusion_core.science.training.state import TrainingState, group_tensors, optimizer_tensors, restore
from transfusion_core.science.training.steering import Steering
from transfusion_core.science.training.stopping import check_validation
from transfusion_core.specs.augmentation import Augmentation
from transfusion_core.specs.dataset import Split, Task
from transfusion_core.specs.training import Metrics, Series, TrainingSpec

# Updates between two looks at the losses. Each look makes the host wait for the device.
LOOK_EVERY = 10
SHOWN_ROWS = 64
EVALUATED: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True)
class Trained:
    """What a finished training leaves, beside the model that now holds the final weights."""

    metrics: dict[str, Metrics]
    """By split, `val` and `test`, of the final weights."""
    series: list[Series]
    """`auroc` and `loss` on val and test, `loss` on train: there the mean since the evaluation before."""
    test_logits: Tensor = field(compare=False)
    """What the final weights say of the test split, float32 (n, classes) on the CPU, in the order of its rows."""
    images_per_second: float
    """Over the updates only."""
    steps: int
    """Updates made."""
    execution: dict[str, Any]
    """How it was computed: `precision`, `mode`, and `milliseconds` per mode where they were measured."""
    best_step: int | None = None
    """Where the recipe keeps the best evaluation's weights: its step, which is that of the final weights."""
    retried_at_lr: float | None = None
    """The learning rate of the second attempt, where the first diverged."""


def train(
    model: nn.Module,
    data: TrainingData,
    training: TrainingSpec,
    *,
    task: Task,
    seed: int,
    device: torch.device,
    hooks: Hooks | None = None,
    resume: TrainingState | None = None,
    micro_batch: int | None = None,
    ranks: Ranks = ALONE,
    clock: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Train the model in place, on `device`, as the spec says.

    `seed` draws the order of the data, the augmentation and dropout; the model comes initialised. `resume`: continue
    from there; the model's own weights count only for a second attempt after divergence. `micro_batch`: take so many
    images of a batch at a time, where a whole batch does not fit into memory; gradients add up to those of the batch,
    apart from batch norm, whose statistics are those of the parts. `ranks`: this process's place among those that
    train the model together; all are called with the same arguments, but only the hooks of rank 0 hear anything.

    Raises DataError for data that do not fit, Diverged at a loss or weight that is not finite, OutOfMemory, and
    JobCancelled when `hooks.should_stop()` says so, the state having been given to `hooks.on_state`.
    """
    check_data(data, task)
    check_validation(data, training, task=task)
    hooks = hooks if hooks and ranks.rank == 0 else Hooks()
    size = f"{training.batch_size} images of {data.images.shape[3]} x {data.images.shape[2]} pixels"
    with memory_errors(f"training on batches of {size}"), numerics(training, device):
        to_device(model, device)
        data = resident(data, device)

        def attempt(lr: float | None, state: TrainingState | None) -> Trained:
            loop = _Loop(model, data, training, task, seed, device, hooks, micro_batch, ranks, clock, lr)
            if state is not None:
                loop.restore(state)
            return loop.run()

        if training.retry_on_divergence:
            return with_retry(attempt, model, lr=training.lr, resume=resume, hooks=hooks)
        return attempt(None, resume)


class _Loop:
    """One training. `step` counts the updates made."""

    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        training: TrainingSpec,
        task: Task,
        seed: int,
        device: torch.device,
        hooks: Hooks,
        micro_batch: int | None,
        ranks: Ranks,
        clock: Callable[[], float],
        retried_at_lr: float | None,
    ) -> None:
        self.retried_at_lr = retried_at_lr
        if retried_at_lr is not None:
            training = training.model_copy(update={"lr": retried_at_lr})
        model = synchronise_norms(model, device) if training.sync_bn else model
        self.model, self.data, self.training = model, data, training
        self.task, self.seed, self.device = task, seed, device
        self.hooks, self.clock, self.ranks = hooks, clock, ranks
        self.augmentation = Augmentation.of(training.augmentation)
        self.micro_batch = max(2, (micro_batch or training.batch_size) // ranks.count)
        self.still = freeze(model, training.freeze) if training.freeze else []
        self.optimizer, self.execution = build_optimizer(model, training), Execution(training, device)
        self.network: Network = model
        self.average = Average(model, decay=training.ema) if training.ema else None
        self.class_weights = self._class_weights()
        self.evaluate_at = set(evaluation_steps(training.steps, training.eval_every))
        self.keep_at = set(checkpoint_steps(training.steps, training.checkpoints)) - {training.steps}
        self.due = self.evaluate_at | self.keep_at
        self.step, self.seconds = 0, 0.0
        self.train_loss, self.curves = TrainLoss(), Curves()
        self.metrics: dict[str, Metrics] = {}
        self.steering = Steering(training)
        self.restored = False

    def restore(self, state: TrainingState) -> None:
        """Stand where the state says."""
        if not 0 <= state.step < self.training.steps:
            raise DataError(f"expected the state of a step below {self.training.steps}, got that of step {state.step}")
        restore(self.model, self.optimizer, state)
        self.execution.restore(state.execution)
        self.step, self.seconds = state.step, state.seconds
        self.train_loss, self.curves = TrainLoss(state.losses), Curves(state.series)
        if self.average:
            self.average.restore(state.average)
        self.steering.restore(state.best, self.curves)
        self.restored = True

    def run(self) -> Trained:
        self.ranks.check_same(self.step)
        if not self.restored:
            self._keep_and_evaluate()
            self.execution.choose(self._to_train(), self._try)
        self.network = self.execution.network(self.ranks.wrap(self.model, self.device))
        with feed(self.data, self._parts(), device=self.device) as images:
            while self._goes_on():
                self._stop_if_asked()
                self._update(images)
                self._keep_and_evaluate()
                if self._goes_on() and self.hooks.wants_state(self.step):
                    self._tell_state()
        return self._finish()

    def _goes_on(self) -> bool:
        return self.step < self.training.steps and not self.steering.stalled

    def _finish(self) -> Trained:
        """Leave the final weights in the model, and keep them."""
        best = self.steering.best
        if best:
            self.model.load_state_dict(best.weights)
        elif self.average:
            self.average.settle(self.model)
        self._keep(best.step if best else self.step, LAST)
        return Trained(
            metrics=best.metrics if best else self.metrics,
            series=self.curves.series(),
            test_logits=answers(self.model, self.data, split="test", device=self.device, ranks=self.ranks),
            images_per_second=self._images_per_second(),
            steps=self.step,
            execution=self.execution.told(),
            best_step=best.step if best else None,
            retried_at_lr=self.retried_at_lr,
        )

    def _keep_and_evaluate(self) -> None:
        if self.step not in self.due:
            return
        with self.average.in_use(self.model) if self.average else nullcontext():
            if self.step in self.keep_at:
                self._keep(self.step, checkpoint_name(self.step))
            if self.step in self.evaluate_at:
                self._evaluate()

    def _update(self, images: Iterator[Tensor]) -> None:
        started = self.clock()
        self._to_train()
        seed_dropout(self.seed, step=self.step, device=self.device, rank=self.ranks.rank)
        self.optimizer.zero_grad(set_to_none=True)
        batch_loss = self._gradients(images, self._labels())
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.training, self.step, plateaus=self.steering.plateaus) * group["lr_scale"]
        self.execution.update(self.optimizer, self.model, clip_norm=self.training.clip_norm)
        self.step += 1
        if self.average:
            self.average.update(self.model, step=self.step)
        self.train_loss.add(self.step, batch_loss)
        if self.step % LOOK_EVERY == 0 or self.step in self.due:
            self._look()  # inside the timing: it waits for the updates that the device still has to do
        self.seconds += self.clock() - started
        self.hooks.on_progress(self.step, self.training.steps, self._images_per_second())

    def _to_train(self) -> nn.Module:
        self.model.train()
        for norm in self.still:
            norm.eval()
        return self.model

    def _look(self) -> None:
        """Diverged where a loss was not finite: at which step, on which images, and what is left."""
        try:
            self.train_loss.look()
        except LossNotFinite as error:
            rows = ", ".join(map(str, self._rows(error.step - 1)[:SHOWN_ROWS].tolist()))
            last = max((step for step in self.keep_at if step < error.step), default=0)
            name = checkpoint_name(last)
            raise Diverged(f"{error}, on the images at rows {rows}; the last checkpoint is '{name}'") from error

    def _class_weights(self) -> Tensor | None:
        wanted = self.training.class_weights
        if wanted is None:
            return None
        labels = self.data.labels[self.data.train.to(self.data.labels.device)]
        return class_weights(wanted, labels, task=self.task, classes=len(self.data.classes)).to(self.device)

    def _rows(self, step: int) -> Tensor:
        """The rows of the images that the update after `step` takes."""
        data, size = self.data, self.training.batch_size
        return data.train[data.sampling.batch_indices(step, n=len(data.train), batch_size=size, seed=self.seed)]

    def _gradients(self, images: Iterator[Tensor], labels: Tensor) -> Tensor:
        """Leave the batch's gradients in the model; the batch's loss. `images`: this rank's, `labels`: everybody's."""
        answers = torch.split(self.ranks.part(labels), self.micro_batch)
        losses = []
        for number, of in enumerate(answers, 1):
            with self.ranks.alone(self.network, last=number == len(answers)):
                losses.append(self._backward(next(images), of, labels))
        return self.ranks.total(torch.stack(losses).sum())

    def _backward(self, images: Tensor, labels: Tensor, of_batch: Tensor) -> Tensor:
        """Add the gradients of a part of the batch; its share in the batch's loss."""
        with self.execution.autocast():
            logits = self.network(images)
        check_logits(logits, images=len(images), classes=len(self.data.classes))
        weights = self.class_weights
        part_loss = loss(self.task, logits.float(), labels, smoothing=self.training.label_smoothing, weights=weights)
        if len(labels) < len(of_batch):
            part_loss = part_loss * share(self.task, labels, of_batch, weights=weights)
        self.execution.backward(part_loss * self.ranks.count)  # ranks average their gradients
        return part_loss.detach()

    def _try(self, network: Network) -> None:
        """A pass over the first part of the coming batch, to measure how long it takes."""
        with feed(self.data, self._parts(), device=self.device) as images:
            part = next(images)
        labels = self.ranks.part(self._labels())[: len(part)]
        self.network = network
        self._backward(part, labels, labels)

    def _parts(self) -> Iterator[Part]:
        """This rank's images of the coming updates, as many at a time as the network takes."""
        data, size = self.data, self.training.batch_size
        for step in range(self.step, self.training.steps):
            epoch = data.sampling.epoch_of(step, n=len(data.train), batch_size=size)
            for rows in torch.split(self.ranks.part(self._rows(step)), self.micro_batch):
                yield Part(rows, partial(self._augmented, epoch=epoch))

    def _augmented(self, images: Tensor, rows: Tensor, *, epoch: int) -> Tensor:
        draw = partial(self.data.sampling.uniform, rows, epoch=epoch, seed=self.seed)
        return augment(images, self.augmentation, draw=lambda purpose: draw(purpose=purpose))

    def _labels(self) -> Tensor:
        """Of all images in the coming update, on the device."""
        batch = self._rows(self.step)
        return self.data.labels[batch.to(self.data.labels.device)].to(self.device)

    def _evaluate(self) -> None:
        self.ranks.agree(self.model)
        self.metrics = {
            split: evaluate(self.model, self.data, task=self.task, split=split, device=self.device, ranks=self.ranks)
            for split in EVALUATED
        }
        points = [
            Point(name, split, value)
            for split, metrics in zip(EVALUATED, self.metrics.values(), strict=True)
            for name, value in (("auroc", metrics.auroc), ("loss", metrics.loss))
        ]
        mean_loss = self.train_loss.take_mean()
        if mean_loss is not None:
            points.append(Point("loss", "train", mean_loss))
        self.curves.add(self.step, points)
        self.hooks.on_points(self.step, points)
        self.steering.see(self.step, self.model, self.metrics, self.curves)

    def _keep(self, step: int, name: str) -> None:
        """Keep the model's weights, which are those after `step` updates."""
        weights = self.model.state_dict()
        _check_finite(weights, step)
        self.hooks.on_checkpoint(step, name, weights)

    def _tell_state(self) -> None:
        self._look()
        weights = self.model.state_dict()
        _check_finite(weights, self.step)
        kept, groups = optimizer_tensors(self.optimizer), group_tensors(self.optimizer)
        seen, series = list(self.train_loss.seen), self.curves.series()
        execution = self.execution.state()
        state = TrainingState(self.step, self.seconds, weights, kept, groups, seen, series, execution)
        average = self.average.tensors if self.average else {}
        self.hooks.on_state(replace(state, average=average, best=self.steering.best, retried_at_lr=self.retried_at_lr))

    def _stop_if_asked(self) -> None:
        if self.ranks.count > 1 and self.step % LOOK_EVERY:
            return  # asking all ranks costs a round trip
        if not self.ranks.told_by_first(self.hooks.should_stop()):
            return
        self._tell_state()
        raise JobCancelled(f"stopped as asked after step {self.step} of {self.training.steps}")

    def _images_per_second(self) -> float:
        images = self.step * self.training.batch_size
        return images / self.seconds if self.seconds else 0.0


def _check_finite(weights: dict[str, Tensor], step: int) -> None:
    floating = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
    finite = torch.stack([tensor.isfinite().all() for tensor in floating.values()]).tolist()
    broken = [name for name, fine in zip(floating, finite, strict=True) if not fine]
    if broken:
        raise Diverged(f"expected finite weights after step {step}, got NaN or infinity in {', '.join(broken[:5])}")

"""How much of the answer can be read off each layer, by a vote of neighbours and by a linear classifier.

As Matsoukas et al. 2022, arXiv 2203.01825, follow features through a network. Probes learn from train images and are
asked about the test images.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from transfusion_core.science.robustness.features import features
from transfusion_core.science.training.batches import TrainingData
from transfusion_core.science.training.metrics import evaluate_scores
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.robustness import Score

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

MAX_ITERATIONS = 1000
"""Of the linear probe's solver (L-BFGS); layers of which it is not done by then say so."""
NEVER_SEEN = -50.0
"""Log probability of a class that no train image has."""


def probe_layers(
    model: nn.Module,
    data: TrainingData,
    *,
    layers: list[str],
    task: Task,
    neighbours: int,
    c: float,
    device: torch.device,
) -> Iterator[Score]:
    """AUROC of a kNN and of a linear probe on each layer's features."""
    train = features(model, data, layers=layers, rows=data.train, device=device)
    test = features(model, data, layers=layers, rows=data.test, device=device)
    labels = data.labels[data.train.to(data.labels.device)].cpu()
    asked = data.labels[data.test.to(data.labels.device)].cpu()
    for place, layer in enumerate(layers, start=1):
        votes = Score(trial="knn", layer=layer, stage=place)
        line = Score(trial="linear_probe", layer=layer, stage=place)
        x, y = train[layer], test[layer]
        lost = _not_finite(x, y) or _untaught(task, labels)
        if lost:
            yield from (score.model_copy(update={"reason": lost}) for score in (votes, line))
            continue
        logits = knn(x, labels, y, task=task, classes=len(data.classes), neighbours=neighbours)
        yield _judged(votes, task, logits, labels, asked, data.classes)
        logits, note = linear(x, labels, y, task=task, classes=len(data.classes), c=c)
        yield _judged(line.model_copy(update={"reason": note}), task, logits, labels, asked, data.classes)


def knn(train: Tensor, labels: Tensor, test: Tensor, *, task: Task, classes: int, neighbours: int) -> Tensor:
    """Logits (n, classes) of the share of answers among the nearest train images, by the cosine of features (n, c).

    One vote is shared among all answers, so that no share is 0. Images whose label is missing have no vote on it.
    """
    near = functional.normalize(test.double()) @ functional.normalize(train.double()).T  # (n, train)
    truth = labels if task == "multilabel" else functional.one_hot(labels.long(), classes)
    prior = 0.5 if task == "multilabel" else 1 / classes
    shares = torch.stack([_share(near, truth[:, i].double(), neighbours, prior) for i in range(classes)], dim=1)
    return torch.logit(shares) if task == "multilabel" else shares.log()


def _share(near: Tensor, truth: Tensor, neighbours: int, prior: float) -> Tensor:
    known = ~truth.isnan()
    count = min(neighbours, int(known.sum()))
    nearest = near[:, known].topk(count, dim=1).indices  # (n, count)
    return (truth[known][nearest].sum(1) + prior) / (count + 1)


def linear(
    train: Tensor, labels: Tensor, test: Tensor, *, task: Task, classes: int, c: float
) -> tuple[Tensor, str | None]:
    """Logits (n, classes) of a logistic regression on standardised features, and what is to be said of it.

    Softmax over classes or grades, for multilabel one per label over the images that have it. The penalty is L2 with
    scikit-learn's `C` = `c`.
    """
    mean, std = train.double().mean(0), train.double().std(0, correction=0)
    scale = torch.where(std > 0, std, 1.0)  # what never changes stays 0
    x, asked = (((part.double() - mean) / scale).numpy() for part in (train, test))
    if task != "multilabel":
        return _softmax(x, labels.numpy(), asked, classes=classes, c=c)
    logits, notes = torch.zeros(len(asked), classes, dtype=torch.float64), []
    for label in range(classes):
        known = (~labels[:, label].isnan()).numpy()
        if not _one_sided(labels[:, label]):
            found, note = _fitted(x[known], labels[:, label].numpy()[known], c=c)
            logits[:, label] = torch.from_numpy(found.decision_function(asked))
            notes.append(note)
    return logits, next(filter(None, notes), None)


def _softmax(
    x: NDArray[np.float64], labels: NDArray[np.int64], asked: NDArray[np.float64], *, classes: int, c: float
) -> tuple[Tensor, str | None]:
    found, note = _fitted(x, labels, c=c)
    decisions = torch.from_numpy(found.decision_function(asked))  # (n, seen), of two classes (n,)
    if decisions.ndim == 1:
        decisions = torch.stack([torch.zeros_like(decisions), decisions], dim=1)
    logits = torch.full((len(asked), classes), NEVER_SEEN, dtype=torch.float64)
    logits[:, torch.from_numpy(found.classes_).long()] = decisions.log_softmax(1)
    return logits, note


def _fitted(
    x: NDArray[np.float64], y: NDArray[np.float64] | NDArray[np.int64], *, c: float
) -> "tuple[LogisticRegression, str | None]":
    # Here, not above: all jobs would be forked from 60 MB more for the one that probes.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in words instead
        model.fit(x, y)
    done = int(np.max(model.n_iter_)) < MAX_ITERATIONS
    return model, None if done else f"the solver was not done after {MAX_ITERATIONS} iterations"


def _judged(score: Score, task: Task, logits: Tensor, labels: Tensor, asked: Tensor, classes: Sequence[str]) -> Score:
    """The score with its AUROC; labels of which the train images show one answer only are left out of it."""
    blind = [place for place in range(len(classes)) if task == "multilabel" and _one_sided(labels[:, place])]
    if blind:
        asked = asked.clone()
        asked[:, blind] = torch.nan
    found = evaluate_scores(task, logits, asked, classes=classes)
    untaught = f"one answer only in training: {', '.join(classes[place] for place in blind)}" if blind else None
    reason = "; ".join(filter(None, (score.reason, untaught, found.reason))) or None
    return score.model_copy(update={"auroc": found.auroc, "reason": reason})


def _untaught(task: Task, labels: Tensor) -> str | None:
    columns = list(labels.T) if task == "multilabel" else [labels]
    return "the train images show one class only" if all(map(_one_sided, columns)) else None


def _one_sided(labels: Tensor) -> bool:
    return len(torch.unique(labels[~labels.isnan()])) < 2


def _not_finite(*activations: Tensor) -> str | None:
    broken = sum(int((~part.isfinite()).any(1).sum()) for part in activations)
    return f"activations not finite on {broken} images" if broken else None

import pytest
import torch
from torch import nn

from transfusion_core.errors import DataError
from transfusion_core.science.training.losses import class_weights, loss, masked_bce, share

NAN = float("nan")


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_cross_entropy_is_the_mean_negative_log_probability(task: str) -> None:
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 0], dtype=torch.uint8)
    expected = -torch.stack([logits[i].softmax(0)[int(y)].log() for i, y in enumerate(labels)]).mean()
    torch.testing.assert_close(loss(task, logits, labels), expected)


def test_missing_labels_change_neither_loss_nor_gradient() -> None:
    labels = torch.tensor([[1.0, NAN], [0.0, 1.0]])
    logits = torch.tensor([[0.3, 9.0], [-0.7, 0.2]], requires_grad=True)
    masked = loss("multilabel", logits, labels)
    p = torch.sigmoid(logits.detach())
    expected = -(p[0, 0].log() + (1 - p[1, 0]).log() + p[1, 1].log()) / 3
    torch.testing.assert_close(masked.detach(), expected)
    masked.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    torch.testing.assert_close(logits.grad[1, 1], (p[1, 1] - 1) / 3)


def test_a_batch_without_any_label_has_loss_zero_and_zero_gradients() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    nothing = masked_bce(logits, torch.full((3, 2), NAN))
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(3, 2))


def test_smoothing_spreads_a_share_of_the_weight_over_all_answers() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 0])
    targets = nn.functional.one_hot(labels, 3).double() * 0.9 + 0.1 / 3
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss("multiclass", logits, labels, smoothing=0.1), expected)


def test_smoothing_leaves_missing_labels_out() -> None:
    logits, labels = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, torch.nan]])
    p = torch.tensor(2.0).sigmoid()
    expected = -(0.95 * p.log() + 0.05 * (1 - p).log())
    torch.testing.assert_close(loss("multilabel", logits, labels, smoothing=0.1), expected)


def test_weights_of_classes_weigh_the_mean_over_the_batch() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, weights = torch.tensor([0, 1, 2, 1]), torch.tensor([1.0, 4.0, 0.5])
    each = -logits.log_softmax(1)[torch.arange(4), labels]
    expected = (1 * each[0] + 4 * each[1] + 0.5 * each[2] + 4 * each[3]) / 9.5
    torch.testing.assert_close(loss("multiclass", logits, labels, weights=weights), expected)


def test_weights_of_labels_weigh_their_positives() -> None:
    logits = torch.tensor([[0.3, -2.0], [1.5, 0.7]], dtype=torch.float64)
    labels = torch.tensor([[1.0, NAN], [0.0, 1.0]])
    p = logits.sigmoid()
    expected = -(3 * p[0, 0].log() + (1 - p[1, 0]).log() + 5 * p[1, 1].log()) / 3
    torch.testing.assert_close(loss("multilabel", logits, labels, weights=torch.tensor([3.0, 5.0])), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("task", ["ordinal", "multilabel"])
def test_shares_of_parts_weigh_by_the_weights_of_their_classes(task: str, smoothing: float) -> None:
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 3, generator=draw, dtype=torch.float64)
    labels = torch.randint(0, 3, (7,), generator=draw)
    if task == "multilabel":
        labels = torch.where(torch.rand(7, 3, generator=draw) < 0.3, NAN, torch.randint(0, 2, (7, 3), generator=draw))
    weights = torch.tensor([0.2, 3.0, 1.1])
    parts = [(logits[rows], labels[rows]) for rows in (slice(0, 3), slice(3, 5), slice(5, 7))]
    total = sum(
        loss(task, x, y, smoothing=smoothing, weights=weights) * share(task, y, labels, weights=weights)
        for x, y in parts
    )
    torch.testing.assert_close(total, loss(task, logits, labels, smoothing=smoothing, weights=weights))


def test_balanced_classes_have_equal_weight_in_all_and_a_mean_of_one() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2], dtype=torch.uint8)
    weights = class_weights("balanced", labels, task="multiclass", classes=3)
    torch.testing.assert_close(weights, torch.tensor([10 / 18, 10 / 9, 10 / 3]))
    torch.testing.assert_close(weights[labels.long()].mean(), torch.tensor(1.0))
    assert class_weights("balanced", labels, task="ordinal", classes=4)[3] == 10 / 4  # never there: as if once


def test_balanced_labels_weigh_positives_by_the_negatives_that_are_known() -> None:
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, NAN, 1], [NAN, 0, 1]])
    weights = class_weights("balanced", labels, task="multilabel", classes=3)
    torch.testing.assert_close(weights, torch.tensor([2.0, 3.0, 0.25]))


def test_weights_are_given_for_every_class() -> None:
    labels = torch.tensor([0, 1, 2])
    assert class_weights([1, 2, 3], labels, task="multiclass", classes=3).tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="each of the 3 classes, got 2"):
        class_weights([1, 2], labels, task="multiclass", classes=3)

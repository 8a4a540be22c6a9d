import pytest
import torch
from torch import nn

from transfusion_core.science.training.losses import loss, masked_bce

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

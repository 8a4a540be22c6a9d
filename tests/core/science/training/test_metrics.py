import pytest
import torch
from sklearn.metrics import roc_auc_score, top_k_accuracy_score

from transfusion_core.science.seeds import generator
from transfusion_core.science.training.metrics import evaluate_scores, log_odds, top_accuracy

NAN = float("nan")


def _logits(n: int, classes: int) -> torch.Tensor:
    return torch.randn(n, classes, generator=generator(0, "logits"), dtype=torch.float64)


def test_multiclass_rows_are_one_against_the_rest_and_macro_their_mean() -> None:
    logits, labels = _logits(60, 3), torch.arange(60) % 3
    metrics = evaluate_scores("multiclass", logits, labels, classes=["a", "b", "c"])
    p = logits.softmax(1).numpy()
    expected = [roc_auc_score(labels.numpy() == c, p[:, c]) for c in range(3)]
    assert [row.label for row in metrics.labels] == ["a", "b", "c", "macro"]
    assert [row.auroc for row in metrics.labels[:3]] == pytest.approx(expected)
    assert metrics.auroc == metrics.labels[-1].auroc == pytest.approx(sum(expected) / 3)
    assert (metrics.labels[-1].n, metrics.labels[-1].positives) == (60, 60)
    assert metrics.loss == pytest.approx(-logits.log_softmax(1)[range(60), labels].mean().item())
    assert metrics.reason is None


def test_an_ordinal_score_is_the_summed_probability_from_the_threshold_up() -> None:
    logits, labels = _logits(60, 5), torch.arange(60) % 5
    metrics = evaluate_scores("ordinal", logits, labels, classes=list("01234"))
    p = logits.softmax(1).numpy()
    expected = [roc_auc_score(labels.numpy() >= t, p[:, t:].sum(1)) for t in range(1, 5)]
    assert [row.label for row in metrics.labels] == [">=1", ">=2", ">=3", ">=4", "macro"]
    assert [row.auroc for row in metrics.labels[:4]] == pytest.approx(expected)
    assert metrics.auroc == metrics.labels[1].auroc
    assert metrics.auprc == metrics.labels[1].auprc


def test_two_grades_are_judged_at_the_only_threshold() -> None:
    metrics = evaluate_scores("ordinal", _logits(20, 2), torch.arange(20) % 2, classes=["no", "yes"])
    assert [row.label for row in metrics.labels] == [">=1", "macro"]
    assert metrics.auroc == metrics.labels[0].auroc is not None


def test_one_grade_has_no_threshold_and_says_so() -> None:
    metrics = evaluate_scores("ordinal", _logits(4, 1), torch.zeros(4, dtype=torch.int64), classes=["0"])
    assert (metrics.auroc, metrics.reason, metrics.loss) == (None, "one grade only", 0)


def test_missing_labels_are_left_out_of_their_row_only() -> None:
    logits = _logits(40, 2)
    labels = torch.stack([torch.arange(40) % 2, torch.arange(40) % 3 == 0], dim=1).float()
    labels[::4, 0] = NAN
    known = ~labels[:, 0].isnan()
    metrics = evaluate_scores("multilabel", logits, labels, classes=["a", "b"])
    assert metrics.labels[0].n == 30
    assert metrics.labels[0].auroc == pytest.approx(roc_auc_score(labels[known, 0], logits[known, 0]))
    assert metrics.labels[1].auroc == pytest.approx(roc_auc_score(labels[:, 1], logits[:, 1]))


def test_the_macro_names_the_labels_that_it_had_to_leave_out() -> None:
    labels = torch.tensor([[1, 0, 1, NAN], [0, 0, 1, NAN]])
    metrics = evaluate_scores(
        "multilabel", torch.tensor([[2.0, 0, 0, 0], [1.0, 0, 0, 0]]), labels, classes=list("abcd")
    )
    assert [row.reason for row in metrics.labels[:4]] == [None, "never positive", "always positive", "no labels"]
    assert [row.auroc for row in metrics.labels[:4]] == [1.0, None, None, None]
    assert metrics.auroc == 1.0
    assert metrics.reason == "without b (never positive), c (always positive), d (no labels)"


@pytest.mark.parametrize("task", ["multiclass", "ordinal", "multilabel"])
def test_an_empty_split_has_reasons_in_place_of_numbers(task: str) -> None:
    labels = torch.empty((0, 3) if task == "multilabel" else 0)
    metrics = evaluate_scores(task, torch.empty(0, 3), labels, classes=list("abc"))
    assert (metrics.auroc, metrics.auprc, metrics.loss) == (None, None, None)
    assert "no labels" in str(metrics.reason)


def test_one_class_only_has_no_auroc_but_a_loss() -> None:
    metrics = evaluate_scores("multiclass", _logits(5, 2), torch.ones(5, dtype=torch.int64), classes=["a", "b"])
    assert metrics.auroc is None
    assert metrics.reason == "without a (never positive), b (always positive)"
    assert metrics.loss is not None


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_scores_that_are_not_finite_give_no_number_at_all(bad: float) -> None:
    logits = _logits(6, 3)
    logits[2, 1] = bad
    metrics = evaluate_scores("ordinal", logits, torch.arange(6) % 3, classes=list("012"))
    assert (metrics.auroc, metrics.loss) == (None, None)
    assert metrics.reason == "scores not finite on 1 of 6 images"


def test_log_odds_are_those_of_the_probabilities() -> None:
    logits = _logits(50, 4)
    p = logits.softmax(1)
    above = torch.stack([p[:, t:].sum(1) for t in range(1, 4)], dim=1)
    torch.testing.assert_close(log_odds("multiclass", logits), p.logit())
    torch.testing.assert_close(log_odds("ordinal", logits), above.logit())
    assert torch.equal(log_odds("multilabel", logits), logits)


def test_a_sure_network_makes_no_false_ties() -> None:
    logits = torch.tensor([[0.0, 60.0], [0.0, 50.0], [0.0, 45.0], [0.0, 40.0]])  # every p rounds to 1.0
    for task in ("multiclass", "ordinal"):
        metrics = evaluate_scores(task, logits, torch.tensor([1, 1, 0, 0]), classes=["a", "b"])
        assert metrics.auroc == 1.0


def test_accuracies_are_those_of_multiclass_scores_alone() -> None:
    logits, labels = _logits(90, 7), torch.arange(90) % 7
    metrics = evaluate_scores("multiclass", logits, labels, classes=list("abcdefg"))
    expected = [top_k_accuracy_score(labels.numpy(), logits.numpy(), k=k) for k in (1, 5)]
    assert [metrics.top1, metrics.top5] == pytest.approx(expected)
    ordinal = evaluate_scores("ordinal", logits, labels, classes=list("abcdefg"))
    assert (ordinal.top1, ordinal.top5) == (None, None)
    assert "top1" not in ordinal.model_dump()


def test_five_of_five_classes_are_no_accuracy_and_a_tie_is_no_answer() -> None:
    few = evaluate_scores("multiclass", _logits(10, 5), torch.arange(10) % 5, classes=list("abcde"))
    assert few.top1 is not None
    assert few.top5 is None
    tied, labels = torch.zeros(4, 6), torch.tensor([0, 1, 2, 3])
    assert [top_accuracy(tied, labels, k=k) for k in (1, 5)] == [0.0, 0.0]
    assert top_accuracy(tied[:0], labels[:0], k=1) is None
    broken = evaluate_scores("multiclass", tied.fill_(NAN), labels, classes=list("abcdef"))
    assert (broken.top1, broken.top5) == (None, None)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(n, 2\), got \(4, 3\)"):
        evaluate_scores("multiclass", _logits(4, 3), torch.zeros(4), classes=["a", "b"])
    with pytest.raises(ValueError, match=r"labels of shape \(4, 3\) for a multilabel task, got \(4,\)"):
        evaluate_scores("multilabel", _logits(4, 3), torch.zeros(4), classes=list("abc"))

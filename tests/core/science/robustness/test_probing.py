"""Probes on features of which it is known what can be read off them."""

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from transfusion_core.science.models.build import build_random
from transfusion_core.science.robustness import probing
from transfusion_core.science.robustness.features import features, probed_layers
from transfusion_core.science.robustness.probing import knn, linear, probe_layers

STAGES = ["stage1", "stage2", "stage3"]


def drawn(n: int, *, classes: int, seed: int, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Clouds around as many corners as classes, which overlap."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return torch.randn(n, width, generator=draw) + 1.5 * torch.eye(width)[labels], labels


def probes(model, data, cpu, task="multiclass", layers=STAGES):
    return list(probe_layers(model, data, layers=layers, task=task, neighbours=20, c=0.1, device=cpu))


def test_features_that_tell_the_classes_apart_are_worth_1_for_both_probes(make_staged, bright, cpu):
    scores = probes(make_staged(), bright, cpu)
    assert [(s.trial, s.layer, s.stage) for s in scores[:2]] == [("knn", "stage1", 1), ("linear_probe", "stage1", 1)]
    assert [s.auroc for s in scores] == [1.0] * 6
    assert {s.reason for s in scores} == {None}


def test_features_that_have_nothing_to_do_with_the_labels_are_worth_a_half(make_staged, bright, cpu):
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 255, (1000, 3, 8, 8), generator=draw).to(torch.uint8)
    lost = replace(bright, images=images, labels=torch.arange(1000) % 2, train=torch.arange(400))
    scores = probes(make_staged(), replace(lost, test=torch.arange(400, 1000)), cpu)
    assert all(abs(s.auroc - 0.5) < 0.1 for s in scores)


def test_the_vote_is_that_of_scikit_learn():
    (x, labels), (y, _) = drawn(200, classes=3, seed=0), drawn(50, classes=3, seed=1)
    ours = knn(x, labels, y, task="multiclass", classes=3, neighbours=20).exp() * 21 - 1 / 3  # back to votes
    theirs = KNeighborsClassifier(20, metric="cosine").fit(x.numpy(), labels.numpy()).predict_proba(y.numpy()) * 20
    assert torch.allclose(ours, torch.from_numpy(theirs))


def test_the_linear_probe_is_scikit_learns_on_standardised_features():
    (x, labels), (y, _) = drawn(200, classes=3, seed=0), drawn(50, classes=3, seed=1)
    logits, note = linear(x, labels, y, task="ordinal", classes=3, c=0.1)
    scaler = StandardScaler().fit(x.double().numpy())
    model = LogisticRegression(C=0.1).fit(scaler.transform(x.double().numpy()), labels.numpy())
    theirs = model.predict_log_proba(scaler.transform(y.double().numpy()))
    assert torch.allclose(logits, torch.from_numpy(theirs), atol=1e-4)
    assert note is None


def test_two_classes_have_two_columns_and_one_that_was_never_seen_is_the_last_choice():
    (x, labels), (y, _) = drawn(100, classes=2, seed=0), drawn(20, classes=2, seed=1)
    logits, _ = linear(x, labels, y, task="multiclass", classes=3, c=0.1)
    assert logits.shape == (20, 3)
    assert (logits.argmax(1) == torch.arange(20) % 2).float().mean() > 0.7
    assert set(logits[:, 2].tolist()) == {probing.NEVER_SEEN}


def test_more_neighbours_than_images_are_all_images():
    x, labels = drawn(8, classes=2, seed=0)
    shares = knn(x, labels, x, task="multiclass", classes=2, neighbours=20).exp()
    assert torch.allclose(shares, torch.full((8, 2), 0.5, dtype=torch.float64))


def multilabel(bright, unknown=()):
    """Label 0 is brightness, 1 its opposite, 2 always 0 in training."""
    labels = torch.stack([bright.labels, 1 - bright.labels, bright.labels], dim=1).float()
    labels[:60, 2] = 0
    labels[list(unknown)] = torch.nan
    return replace(bright, labels=labels, classes=("a", "b", "c"))


def test_missing_labels_have_no_vote_and_a_label_with_one_answer_says_why_it_has_none(make_staged, bright, cpu):
    scores = probes(make_staged(), multilabel(bright, unknown=[0, 1, 2, 70]), cpu, task="multilabel")
    assert [s.auroc for s in scores] == [1.0] * 6
    assert {s.reason for s in scores} == {"one answer only in training: c; without c (no labels)"}


def test_train_images_of_one_class_teach_nothing(make_staged, bright, cpu):
    alone = replace(bright, train=torch.arange(0, 60, 2))
    assert {(s.auroc, s.reason) for s in probes(make_staged(), alone, cpu)} == {
        (None, "the train images show one class only")
    }


def test_test_images_of_one_class_say_so(make_staged, bright, cpu):
    alone = replace(bright, test=torch.arange(60, 100, 2))
    assert {s.auroc for s in probes(make_staged(), alone, cpu)} == {None}
    assert "always positive" in probes(make_staged(), alone, cpu)[0].reason


def test_activations_that_are_not_finite_are_refused(make_staged, bright, cpu):
    model = make_staged()
    with torch.no_grad():
        model.stage2.conv.weight.fill_(float("inf"))
    scores = probes(model, bright, cpu)
    assert [s.auroc is None for s in scores] == [False, False, True, True, True, True]
    assert scores[2].reason == "activations not finite on 100 images"


def test_a_solver_that_is_not_done_says_so_beside_its_score(make_staged, bright, cpu, monkeypatch):
    monkeypatch.setattr(probing, "MAX_ITERATIONS", 1)
    vote, line = probes(make_staged(), bright, cpu, layers=["stage1"])
    assert (vote.reason, line.reason) == (None, "the solver was not done after 1 iterations")
    assert line.auroc > 0.9


def test_a_neuron_that_never_fires_is_no_harm(make_staged, bright, cpu):
    model = make_staged()
    with torch.no_grad():
        model.stage1.bn.weight[0] = model.stage1.bn.bias[0] = 0
    assert [s.auroc for s in probes(model, bright, cpu, layers=["stage1"])] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [("cbr-tiny", 32, 32), ("resnet18", 32, 64), ("test_vit", 32, 64), ("swin_tiny_patch4_window7_224", 56, 96)],
)
def test_features_are_the_mean_over_places_whatever_the_layout(name, size, channels, make_data, cpu):
    model = build_random(name, classes=2, image_size=size, seed=0)
    images = torch.randint(0, 255, (3, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    data = make_data(images, torch.zeros(3), train=2)
    layers = probed_layers(model, image_size=size)
    found = features(model, data, layers=layers, rows=data.train, device=cpu)
    assert list(found) == layers
    assert found[layers[0]].shape == (2, channels)
    assert found[layers[0]].dtype == torch.float32


def test_the_class_token_is_no_place(make_data, cpu):
    model = build_random("test_vit", classes=2, image_size=32, seed=0).eval()
    images = torch.randint(0, 255, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    data = make_data(images, torch.zeros(2), train=2)
    (layer, *_) = probed_layers(model, image_size=32)
    seen = {}
    model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.update(tokens=output))
    found = features(model, data, layers=[layer], rows=data.train, device=cpu)[layer]
    assert torch.allclose(found, seen["tokens"][:, 1:].mean(1))

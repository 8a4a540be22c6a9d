"""Comparing two small networks: every measure, every pair, one pass, and refusals that carry a reason."""

from math import isnan

import pytest
import torch
from torch import nn

from transfusion_core.science.similarity import (
    MEASURES,
    Moments,
    Network,
    Options,
    Sampling,
    UnknownLayer,
    cca,
    compare,
    iid_baseline,
    iid_cka,
    linear_cka,
)
from transfusion_core.science.similarity.samples import draw_positions, take

EVERY = tuple(MEASURES)


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 2),
    ).train()  # fmt: skip


@pytest.fixture
def images():
    return torch.randn(24, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def run(a, b, images, *, pairs=(("0", "0"), ("0", "3"), ("7", "7")), measures=EVERY, positions=10, seed=5, **options):
    chosen = Options(sampling=Sampling(positions, seed), **({"batch_size": 8} | options))
    return compare(a, b, images, pairs=pairs, measures=measures, options=chosen)


def test_the_measures_are_the_seven_that_a_spec_may_name():
    assert set(MEASURES) == {"cca", "svcca", "pwcca", "cka", "cka_debiased", "procrustes", "regression"}


def test_torchs_library_and_numpys_give_the_same_numbers(images, monkeypatch):
    values = []
    for has in (True, False):
        monkeypatch.setattr("transfusion_core.science.similarity.products.TORCH_IS_FASTER", has)
        values.append([result.value for result in run(network(0), network(1), images)])
    assert values[0] == pytest.approx(values[1], abs=1e-5)


def test_every_pair_has_every_measure_with_its_sizes_and_null(images):
    results = run(network(0), network(1), images)
    assert [(r.layer_a, r.layer_b, r.measure) for r in results] == [
        (a, b, m) for a, b in [("0", "0"), ("0", "3"), ("7", "7")] for m in EVERY
    ]
    by_name = {r.measure: r for r in results if r.layer_b == "3"}
    assert {(r.n, r.p, r.q) for r in by_name.values()} == {(240, 6, 4)}
    assert all(0 <= r.value <= 1 for r in by_name.values() if r.measure not in ("cka_debiased", "procrustes"))
    assert (by_name["cca"].kept_a, by_name["cca"].kept_b) == (6, 4)
    assert by_name["cca"].null_iid == iid_baseline(240, 6, 4)
    assert by_name["svcca"].null_iid == iid_baseline(240, by_name["svcca"].kept_a, by_name["svcca"].kept_b)
    assert by_name["cka"].null_iid == iid_cka(240, 6, 4)
    assert by_name["cka_debiased"].null_iid == 0
    assert by_name["procrustes"].null_iid is None
    assert by_name["regression"].null_iid == 4 / 239
    assert by_name["cka"].kept_a is None


def test_results_tell_the_correlations_behind_a_mean_and_regression_the_other_way(images):
    one = {r.measure: r for r in run(network(0), network(1), images) if r.layer_b == "3"}
    other = {r.measure: r for r in run(network(1), network(0), images, pairs=[("3", "0")])}
    for name in ("cca", "svcca"):
        assert float(one[name].correlations.mean()) == pytest.approx(one[name].value, abs=1e-12)
    assert one["cca"].correlations.shape == one["pwcca"].correlations.shape == (4,)
    assert one["regression"].reverse == pytest.approx(other["regression"].value, abs=1e-12)
    assert one["regression"].value == pytest.approx(other["regression"].reverse, abs=1e-12)
    assert (one["cka"].correlations, one["cka"].reverse) == (None, None)


def test_values_are_those_of_the_layers_outputs(images):
    a, b = network(0), network(1)
    got = {r.measure: r.value for r in run(a, b, images, pairs=[("0", "1")], measures=["cca", "cka"])}
    moments = Moments(6, 6)
    with torch.no_grad():
        of_b = b.eval()[1](b[0](images))
        drawn = draw_positions(range(24), total=24, of=144, budget=10, seed=5)
        moments.update(*(take(output, (12, 12), drawn).flatten(0, 1) for output in (a[0](images), of_b)))
    assert got["cca"] == pytest.approx(cca(moments).mean, abs=1e-6)
    assert got["cka"] == pytest.approx(linear_cka(moments), abs=1e-6)


def test_a_model_is_like_itself_and_runs_once(images):
    model, runs = network(0), []
    model.register_forward_hook(lambda *_: runs.append(1))
    for result in run(model, model, images, pairs=[("0", "0"), ("7", "7")]):
        assert result.value == pytest.approx(0 if result.measure == "procrustes" else 1, abs=1e-6)
    assert len(runs) == 4  # one image for the shapes, three batches


def test_the_batch_size_changes_nothing(images):
    a, b = network(0).double(), network(1).double()
    plain = [r.value for r in run(a, b, images)]
    for other in ({"batch_size": 24}, {"batch_size": 5}, {"batch_size": 1}):
        assert [r.value for r in run(a, b, images, **other)] == pytest.approx(plain, abs=1e-9)


def test_the_seed_draws_other_positions(images):
    first, second = (run(network(0), network(1), images, seed=seed, measures=["cca"])[0].value for seed in (1, 2))
    assert first != second


def test_models_keep_their_mode_their_statistics_their_memory_and_their_hooks(images):
    a, b = network(0), network(1)
    before = {name: tensor.clone() for name, tensor in a.state_dict().items()}
    places = [(weight.data_ptr(), weight.stride()) for weight in a.parameters()]
    run(a, b, images)
    with pytest.raises(RuntimeError, match="channels"):
        run(a, b, images[:, :1])
    assert a.training
    assert b.training
    assert all(torch.equal(before[name], tensor) for name, tensor in a.state_dict().items())
    assert [(weight.data_ptr(), weight.stride()) for weight in a.parameters()] == places
    assert not any(module._forward_hooks for module in a.modules())


def test_a_surrounding_autocast_is_switched_off(images):
    plain = run(network(0), network(1), images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run(network(0), network(1), images) == plain


def test_progress_counts_batches(images):
    seen = []
    run(network(0), network(1), images, batch_size=10, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_one_image_of_few_positions_gives_reasons_instead_of_numbers(images):
    for result in run(network(0), network(1), images[:1], positions=4):
        assert (result.value is None) == (result.reason is not None)
        assert result.value is None or not isnan(result.value)
    refused = run(network(0), network(1), images[:1], positions=4, measures=["cca"])[0]
    assert "n = 4 samples are too few" in refused.reason


def test_few_samples_carry_a_warning(images):
    result = run(network(0), network(1), images, positions=1, measures=["cca"])[0]
    assert "less than 5 max(p, q) = 30" in result.warnings[0]


def test_a_dead_layer_has_a_reason_and_its_partner_is_not_harmed(images):
    model = network(0)
    nn.init.zeros_(model[0].weight)
    dead, *_, alive = run(model, network(1), images, pairs=[("0", "0"), ("7", "7")], measures=["cka"])
    assert dead.value is None
    assert dead.reason == "the first layer does not vary over the 240 samples"
    assert alive.reason == "the first layer does not vary over the 24 samples"  # nothing comes out of a dead layer


def test_a_diverged_network_has_no_value_and_says_so(images):
    model = network(0)
    nn.init.constant_(model[7].weight, float("nan"))
    result = run(model, network(1), images, pairs=[("0", "0"), ("7", "7")], measures=["cca"])
    assert result[0].value is not None
    assert result[1].value is None
    assert "the first layer holds NaN or infinity" in result[1].reason


def test_layers_with_channels_last_are_named_by_side(images):
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network(0)[0]
            self.turn = nn.Identity()

        def forward(self, x):
            return self.turn(self.inner(x).permute(0, 2, 3, 1))

    model, other = Turned(), network(0)
    same = run(Network(model, channels_last=["turn"]), other, images, pairs=[("turn", "0")], measures=["cca"])
    assert same[0].value == pytest.approx(1)
    assert (same[0].p, same[0].q) == (6, 6)


def test_wrong_requests_are_errors(images):
    with pytest.raises(ValueError, match=r"unknown measures \['kca'\]; known are cca"):
        run(network(0), network(1), images, measures=["kca"])
    with pytest.raises(UnknownLayer, match="no layer '9'"):
        run(network(0), network(1), images, pairs=[("0", "9")])
    with pytest.raises(ValueError, match="at least one image"):
        run(network(0), network(1), images[:0])

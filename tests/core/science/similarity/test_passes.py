"""Passes over the images: shards, parts and processes give what one pass gives; nulls stand where they should."""

import socket
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn

from transfusion_core.errors import DataError
from transfusion_core.science.similarity import (
    MEASURES,
    Collected,
    LayerPair,
    Moments,
    Network,
    Options,
    Part,
    Sampling,
    collect,
    compare,
    compare_checkpoints,
    evaluate,
    iid_baseline,
    linear_cka,
    load_collected,
    save_collected,
)
from transfusion_core.science.similarity.plan import Plan
from transfusion_core.science.similarity.samples import Shape
from transfusion_core.science.tensor_files import write_tensors

EVERY = tuple(MEASURES)
LAYERS = ["0", "2", "4"]
DIAGONAL = [LayerPair(0, layer, 1, layer) for layer in LAYERS]
SAMPLED = Sampling(positions_per_image=12, seed=3)


def network(seed, *, dead=False):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 5, 3)
    )  # fmt: skip
    if dead:
        nn.init.constant_(model[2].weight, float("nan"))
    return model.double()


def blobs(count, *, seed=0, size=12):
    """Smooth random images: neighbouring positions are alike, so positions are no independent samples."""
    coarse = torch.randn(count, 3, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)


def whole_pass(images, *, pairs=DIAGONAL, **options):
    networks = [Network(network(1)), Network(network(2))]
    return collect(networks, pairs, images, Options(sampling=SAMPLED, **options))


def assert_same_results(one, other, *, tolerance):
    assert one.keys() == other.keys()
    for pair in one:
        for mine, theirs in zip(one[pair], other[pair], strict=True):
            assert (mine.layer_a, mine.measure, mine.n, mine.kept_a) == (
                theirs.layer_a, theirs.measure, theirs.n, theirs.kept_a
            )  # fmt: skip
            assert mine.value == pytest.approx(theirs.value, abs=tolerance)
            assert mine.null_permutation == pytest.approx(theirs.null_permutation, abs=tolerance)
            assert mine.interval == pytest.approx(theirs.interval, abs=1e-5)  # shards are kept in float32


@pytest.mark.parametrize(("parts", "count"), [(2, 75), (3, 75), (16, 75), (7, 12)])
def test_parts_that_were_saved_and_merged_give_the_value_of_one_pass(tmp_path, parts, count):
    """Also where there are more parts than shards, of which some then have nothing."""
    images, merged = blobs(count), None
    for number in range(parts):
        save_collected(whole_pass(images, part=Part(number, parts)), tmp_path / f"{number}.safetensors")
    for number in range(parts):
        part = load_collected(tmp_path / f"{number}.safetensors")
        merged = part if merged is None else merged.merge(part)
    assert_same_results(evaluate(merged, EVERY), evaluate(whole_pass(images), EVERY), tolerance=1e-10)


def test_the_state_of_a_part_is_fit_for_torch_save(tmp_path):
    part = whole_pass(blobs(40))
    torch.save(part.state(), tmp_path / "part.pt")
    read = Collected.from_state(torch.load(tmp_path / "part.pt", weights_only=True))
    assert_same_results(evaluate(read, EVERY), evaluate(part, EVERY), tolerance=0)


def test_another_file_than_a_part_is_refused(tmp_path):
    (tmp_path / "text").write_text("no tensors here")
    write_tensors(tmp_path / "others", {"x": torch.zeros(2)}, {"made_by": "hand"})
    for name in ("text", "others"):
        with pytest.raises(DataError, match="expected the sums of a pass over images"):
            load_collected(tmp_path / name)


def test_sixteen_parts_have_an_interval_and_more_have_none():
    images = blobs(75)
    for parts, shards, kept in ((16, 16, True), (17, 17, False)):
        part = whole_pass(images, part=Part(0, parts))
        assert (part.shards, bool(part.gatherings[0].shards)) == (shards, kept)


def test_parts_of_another_pass_are_refused():
    with pytest.raises(ValueError, match="parts of one pass expected"):
        whole_pass(blobs(40)).merge(whole_pass(blobs(40), pairs=DIAGONAL[:1]))


def test_a_part_that_is_there_already_or_missing_is_refused():
    first = whole_pass(blobs(40), part=Part(0, 2))
    with pytest.raises(ValueError, match=r"got shards \[0, 1, 2, 3, 4, 5, 6, 7\] of 16 twice"):
        first.merge(whole_pass(blobs(40), part=Part(0, 2)))
    with pytest.raises(ValueError, match=r"got none with shards \[8, 9, 10, 11, 12, 13, 14, 15\] of 16"):
        evaluate(first, EVERY)


def test_there_may_be_more_parts_than_images():
    images = blobs(3)
    first, *others = (whole_pass(images, part=Part(number, 5)) for number in range(5))
    for other in others:
        first = first.merge(other)
    found, expected = (evaluate(each, ["cka"]) for each in (first, whole_pass(images)))
    for pair in DIAGONAL:
        assert found[pair][0].value == pytest.approx(expected[pair][0].value, abs=1e-10)


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
@pytest.mark.parametrize("pairs", [DIAGONAL, DIAGONAL[:1]])
def test_a_pass_is_the_same_on_any_number_of_threads(threads, pairs):
    """Samples of one batch are summed while networks that have a thread each run on the next."""
    seen = []
    found = whole_pass(blobs(40), pairs=pairs, batch_size=6, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert len(seen) > 5
    whole = evaluate(whole_pass(blobs(40), pairs=pairs, batch_size=40), EVERY)
    assert_same_results(evaluate(found, EVERY), whole, tolerance=1e-10)


@pytest.mark.parametrize("threads", [2, 3], indirect=True)
def test_a_network_that_fails_late_ends_the_pass_and_leaves_no_thread_limited(threads):
    images, failing = blobs(40), network(2)
    failing[2].register_forward_hook(late_error(runs=3))
    with pytest.raises(RuntimeError, match="out of memory"):
        collect([Network(network(1)), Network(failing)], DIAGONAL, images, Options(sampling=SAMPLED, batch_size=6))
    assert torch.get_num_threads() == threads


def late_error(*, runs):
    """A hook that fails in its last run."""
    left = [runs]

    def hook(*_):
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("out of memory")

    return hook


def broken_late(images):
    """As if a network had diverged on one of the last images."""
    images = images.clone()
    images[-1] = float("nan")
    return images


def _reduce(rank, port, folder):
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    collected = whole_pass(blobs(40), part=Part(rank, 2)).all_reduce()
    torch.save(collected.state(), f"{folder}/{rank}.pt")
    diverged = whole_pass(broken_late(blobs(40)), pairs=DIAGONAL[:2], part=Part(rank, 2)).all_reduce()
    assert all(
        one.value is None and "NaN" in one.reason for found in evaluate(diverged, EVERY).values() for one in found
    )
    distributed.destroy_process_group()


def test_two_processes_that_reduce_their_sums_both_have_the_value_of_one_pass(tmp_path):
    """And where one of them alone meets NaN, both leave out what has it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_reduce, args=(port, str(tmp_path)), nprocs=2)
    expected = evaluate(whole_pass(blobs(40)), EVERY)
    for rank in range(2):
        reduced = Collected.from_state(torch.load(tmp_path / f"{rank}.pt", weights_only=True))
        assert_same_results(evaluate(reduced, EVERY), expected, tolerance=1e-10)


@pytest.mark.parametrize("itself", [False, True])
def test_layers_that_are_broken_on_both_sides_have_a_reason(itself):
    model = network(1)
    pairs = [LayerPair(0, "0", 0, "0")] if itself else DIAGONAL[:1]
    found = collect([Network(model), Network(network(2))], pairs, broken_late(blobs(40)), Options(sampling=SAMPLED))
    for result in evaluate(found, EVERY)[pairs[0]]:
        assert (result.value, "the first layer holds NaN" in result.reason) == (None, True)


def test_intervals_do_not_end_where_float32_does():
    """Fourth powers of many large activations are beyond it."""
    plain, large = (evaluate(whole_pass(blobs(60) * scale), EVERY)[DIAGONAL[0]] for scale in (1, 1e9))
    for one, other in zip(plain, large, strict=True):
        assert other.interval == pytest.approx(one.interval, abs=1e-3), one.measure


def test_all_convolutions_of_a_large_network_have_intervals():
    """Of ResNet-50: 64 to 2,048 channels, one with the same of another network."""
    widths = [64, *[64, 64, 256] * 3, 256, *[128, 128, 512] * 4, 512, *[256, 256, 1024] * 6, 1024]
    widths += [*[512, 512, 2048] * 3, 2048]
    shapes = {(side, f"{place}"): Shape(width, ()) for place, width in enumerate(widths) for side in (0, 1)}
    pairs = [LayerPair(0, f"{place}", 1, f"{place}") for place in range(len(widths))]
    plan = Plan(pairs, shapes, images=1000, options=Options(sampling=Sampling(None)), device=torch.device("cpu"))
    assert (len(widths), plan.shards, plan.warnings) == (53, 6, [])


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_no_number_depends_on_the_batch_size(batch_size):
    images = blobs(50)
    results = evaluate(whole_pass(images, batch_size=batch_size), EVERY)
    assert_same_results(results, evaluate(whole_pass(images, batch_size=16), EVERY), tolerance=1e-9)


def test_images_may_be_anything_with_a_length_and_slices():
    class Lazy:
        read = 0

        def __len__(self):
            return 50

        def __getitem__(self, rows):
            self.read += rows.stop - rows.start
            return blobs(50)[rows]

    lazy = Lazy()
    assert_same_results(evaluate(whole_pass(lazy), EVERY), evaluate(whole_pass(blobs(50)), EVERY), tolerance=1e-12)
    assert lazy.read == 51  # one for the shapes, then each once


def test_a_heat_map_has_the_values_of_its_pairs_one_by_one():
    images = blobs(40)
    every = [LayerPair(0, a, 1, b) for a, b in product(LAYERS, LAYERS)]
    together = evaluate(whole_pass(images, pairs=every), EVERY)
    for pair in every:
        alone = evaluate(whole_pass(images, pairs=[pair]), EVERY)
        assert_same_results({pair: together[pair]}, alone, tolerance=1e-10)


def test_a_heat_map_of_a_network_with_itself_is_symmetric_and_runs_it_once():
    model, runs = network(1), []
    model.register_forward_hook(lambda *_: runs.append(1))
    found = compare(model, model, blobs(40), layers=LAYERS, pairs="all", measures=["cca", "cka"])
    values = {(each.layer_a, each.layer_b, each.measure): each.value for each in found}
    for (a, b, measure), value in values.items():
        assert value == pytest.approx(values[b, a, measure], abs=1e-10)
        assert a != b or value == pytest.approx(1, abs=1e-10)
    assert len(runs) == 2  # one image for the shapes, one batch


def test_checkpoints_share_the_pass_of_their_reference():
    reference, runs = network(1), []
    reference.register_forward_hook(lambda *_: runs.append(1))
    others = [network(2), network(3), reference]
    found = compare_checkpoints(reference, others, blobs(40), layers=LAYERS, measures=EVERY)
    assert len(runs) == 2
    for other, results in zip(others, found, strict=True):
        alone = compare(network(1), other, blobs(40), layers=LAYERS, measures=EVERY)
        assert [result.value for result in results] == pytest.approx([each.value for each in alone], abs=1e-9)


def test_the_permutation_null_of_independent_networks_is_below_their_value_and_above_noise():
    """Only images are permuted, so positions stay as alike within an image as they are: fewer samples than n."""
    found = compare(network(1), network(2), blobs(400), layers=LAYERS, measures=["cca"], options=Options())
    for result in found:
        assert result.null_iid < result.null_permutation < result.value
        low, high = result.interval
        assert low < result.value < high


@pytest.mark.parametrize("positions", [1, 4, 16])
def test_the_permutation_null_has_what_a_position_says_however_few_are_drawn(positions):
    """The zeros that pad the border of bright images say much, and the same in any two of them."""
    bright = 1.5 + blobs(600, size=8)
    found = []
    for budget in (positions, 64):
        options = Options(sampling=Sampling(positions_per_image=budget), intervals=False)
        found += compare(network(1), network(2), bright, layers=["0"], measures=["cka"], options=options)
    few, whole = found
    assert whole.null_permutation > 0.03
    assert few.null_permutation == pytest.approx(whole.null_permutation, abs=0.02)


@pytest.mark.parametrize("count", [2, 3, 40, 41])
def test_the_permutation_null_is_of_every_image_beside_its_neighbour(count):
    """Whatever batches, shards and parts there are."""
    flat = [nn.Sequential(nn.Flatten(), nn.Linear(27, 2)).double() for _ in range(2)]
    images = torch.randn(count, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = [image ^ 1 for image in range(count)]
    if count % 2:
        order[-3:] = [count - 2, count - 1, count - 3]
    moments = Moments(2, 2)
    with torch.no_grad():
        moments.update(flat[0](images), flat[1](images)[order])
    for batch_size, intervals in ((64, True), (7, True), (1, False), (2, False)):
        options = Options(batch_size=batch_size, intervals=intervals)
        (result,) = compare(*flat, images, layers=["1"], measures=["cka"], options=options)
        assert result.null_permutation == pytest.approx(linear_cka(moments), abs=1e-10)


def test_the_permutation_null_of_independent_samples_is_that_of_noise():
    """Vectors of independent images: then permuting images is drawing noise."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(27, 12)).double()
    images = torch.randn(2000, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (result,) = compare(flat, flat, images, layers=["1"], measures=["cca"])
    assert result.null_permutation == pytest.approx(iid_baseline(2000, 12, 12), abs=0.015)
    assert result.value == pytest.approx(1)


def test_nulls_and_intervals_can_be_left_out():
    for result in evaluate(whole_pass(blobs(40), intervals=False, permute=False), EVERY)[DIAGONAL[0]]:
        assert result.interval is None
        assert result.null_permutation is None
        assert result.value is not None


def test_few_images_have_no_interval_and_one_has_no_permutation_null():
    (few,) = evaluate(whole_pass(blobs(8), pairs=DIAGONAL[:1]), ["cka"])[DIAGONAL[0]]
    assert few.interval is None
    assert any("no interval: it needs 5 shards" in warning for warning in few.warnings)
    assert few.null_permutation is not None
    (one,) = evaluate(whole_pass(blobs(1), pairs=DIAGONAL[:1]), ["cka"])[DIAGONAL[0]]
    assert one.null_permutation is None
    assert 0 <= one.value <= 1


def test_the_papers_protocol_averages_draws_of_the_same_channels_in_both():
    torch.manual_seed(0)
    model, copy = nn.Sequential(nn.Conv2d(3, 90, 1)), nn.Sequential(nn.Conv2d(3, 90, 1))
    copy.load_state_dict(model.state_dict())
    images = torch.randn(200, 3, 8, 8)
    options = Options(sampling=Sampling(positions_per_image=20, channels=64, draws=5))
    (result,) = compare(model, copy, images, layers=["0"], measures=["cka"], options=options)
    assert (result.p, result.q) == (64, 64)
    assert result.value == pytest.approx(1, abs=1e-6)  # only if both sides show the same channels


def test_a_protocol_of_several_draws_gives_their_mean():
    images, model = blobs(200), [network(1), network(2)]
    draws = 4
    sampling = Sampling(positions_per_image=20, channels=3, draws=draws)
    (mean,) = compare(*model, images, layers=["0"], measures=["cca"], options=Options(sampling=sampling))
    found = collect([Network(each) for each in model], DIAGONAL[:1], images, Options(sampling=sampling))
    places = found.places[DIAGONAL[0]]
    assert len(places) == draws
    ones = [evaluate(replace(found, places={DIAGONAL[0]: [place]}), ["cca"])[DIAGONAL[0]][0] for place in places]
    assert mean.value == pytest.approx(sum(one.value for one in ones) / draws)
    assert len({one.value for one in ones}) == draws
    assert mean.null_iid == pytest.approx(iid_baseline(4000, 3, 3))


def test_a_pass_needs_layers():
    with pytest.raises(ValueError, match="one pair of layers"):
        compare(network(1), network(2), blobs(4), pairs=[])
    with pytest.raises(ValueError, match="equally many layers, got 2 and 1"):
        compare(network(1), network(2), blobs(4), layers=["0", "2"], layers_b=["0"])


class Tokens(nn.Module):
    """A token before the places, their mean."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.block = nn.Linear(3, 6)

    def forward(self, images):
        places = images.flatten(2).transpose(1, 2)
        return self.block(torch.cat([places.mean(1, keepdim=True), places], 1))


def test_tokens_are_compared_by_place_and_the_class_token_apart():
    a, b = (Network(Tokens(seed), prefix_tokens=1) for seed in (1, 2))
    images = torch.randn(60, 3, 4, 4)
    places, token = compare(a, b, images, layers=["block", "block[class]"], measures=["cka"])
    assert (places.n, token.n) == (60 * 16, 60)
    assert places.value != token.value


def test_what_a_network_says_of_its_outputs_holds_for_its_model_on_either_side():
    model, images = Tokens(1), torch.randn(60, 3, 4, 4)
    said = Network(model, prefix_tokens=1)
    for a, b in [(said, model), (model, said), (said, Network(model, prefix_tokens=1))]:
        (found,) = compare(a, b, images, layers=["block"], measures=["cka"])
        assert found.n == 60 * 16
    with pytest.raises(ValueError, match="one Tokens comes as two networks that are to be read differently"):
        compare(said, Network(model), images, layers=["block"])


def test_a_layer_that_diverged_harms_no_other_of_its_group():
    found = compare(
        network(1, dead=True), network(2), blobs(40), layers=LAYERS, pairs="all", measures=["cka"]
    )  # fmt: skip
    for result in found:
        assert (result.value is None) == (result.layer_a != "0")
        if result.value is None:
            assert "the first layer holds NaN or infinity" in result.reason


def test_float32_products_move_values_by_less_than_a_millionth():
    images = blobs(200)
    exact, fast = (evaluate(whole_pass(images, gemm=gemm), EVERY) for gemm in ("float64", "float32"))
    for pair in DIAGONAL:
        for mine, theirs in zip(exact[pair], fast[pair], strict=True):
            assert mine.kept_a == theirs.kept_a
            assert theirs.value == pytest.approx(mine.value, abs=1e-6)

"""Kind `moments`: a comparison in parts gives the numbers of one job, whatever becomes of what the parts left."""

from dataclasses import asdict, replace
from typing import get_args

import pytest
import torch

from transfusion_core.errors import JobCancelled
from transfusion_core.science.models.build import build_random
from transfusion_core.specs.comparison import ComparisonResult, Measure
from transfusion_core.specs.job import CompareJob, MomentsJob
from transfusion_worker.assignment import Need
from transfusion_worker.jobs import compare, compared, moments
from transfusion_worker.jobs.checkpoints import About, LoadedCheckpoint
from worker_study import Study, study_of

BODY = {
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 2,
    "train_sizes": [40],
    "image_size": 24,
    "sections": ["performance", "similarity", "movement"],
    "training": {"steps": 4, "eval_every": 2, "batch_size": 8, "checkpoints": 2},
}
SIMILARITY = {"measures": [*get_args(Measure)], "images": 37, "spectra": True}


def assert_same_numbers(one: ComparisonResult, other: ComparisonResult) -> None:
    """To 1e-10; intervals to 1e-5 of the range, since shards are kept in float32."""
    assert (one.probe_set, one.layers_a, one.layers_b) == (other.probe_set, other.layers_a, other.layers_b)
    assert (one.weights, one.filters) == (other.weights, other.filters)
    assert [each.step for each in one.between] == [each.step for each in other.between]
    mine = [*one.results, *(result for each in one.between for result in each.results)]
    theirs = [*other.results, *(result for each in other.between for result in each.results)]
    exact = ("value", "null_iid", "null_permutation", "null_untrained")
    for a, b in zip(mine, theirs, strict=True):
        told, expected = asdict(a), asdict(b)
        for word in exact:
            assert told.pop(word) == pytest.approx(expected.pop(word), abs=1e-10), (a.layer_a, a.measure, word)
        assert told.pop("reverse") == pytest.approx(expected.pop("reverse"), abs=1e-10)
        assert told.pop("interval") == pytest.approx(expected.pop("interval"), abs=1e-5)
        assert told == expected


def comparisons(study: Study) -> dict[str, ComparisonResult]:
    assert {row.error for row in study.rows} == {None}
    return {
        row.key: ComparisonResult.model_validate_json(study.read(row.result["report"]))
        for row in study.of_kind("compare")
    }


def test_three_parts_give_the_numbers_of_one_job(tmp_path_factory):
    """Through the real machinery: the same experiment twice, each time on a platform of its own."""
    with study_of({**BODY, "similarity": SIMILARITY}, tmp_path_factory.mktemp("whole")) as study:
        expected = comparisons(study)
        assert study.of_kind("moments") == []
    with study_of({**BODY, "similarity": {**SIMILARITY, "parts": 3}}, tmp_path_factory.mktemp("split")) as study:
        found = comparisons(study)
        parts = study.of_kind("moments")
        assert len(parts) == 3 * len(found)
        assert {row.queue for row in parts} == {"gpu"}
        for row in parts:
            assert set(row.result) == {"probe_set", "trained", *(["untrained"] if row.spec["nulls"] else [])}
            study.read(row.result["trained"])
        (report,) = study.of_kind("report")
        assert report.result["complete"]
    assert found.keys() == expected.keys()
    assert any(result.between for result in found.values())
    for key, result in found.items():
        assert_same_numbers(result, expected[key])


ABOUT = About(model="cbr-tiny", classes=2, image_size=32, step=0, dataset="d", mean=[0.5] * 3, std=[0.2] * 3)


@pytest.fixture(scope="module")
def sides():
    """Two networks."""
    models = [build_random("cbr-tiny", classes=2, image_size=32, seed=seed) for seed in (1, 2)]
    return [LoadedCheckpoint(ABOUT, dict(model.state_dict()), str(seed) * 64) for seed, model in enumerate(models)]


def comparison(**changes) -> CompareJob:
    ref = {"run": "a" * 64, "checkpoint": "final"}
    base = {"a": ref, "b": ref, "dataset": "b" * 64, "image_size": 32, "layers": "stages", "pairs": "diagonal"}
    more = {"measures": ["svcca", "cka"], "images": None, "seed": 0, "positions_per_image": 4, "variance": 0.99}
    return CompareJob.model_validate(base | more | changes)


def prepare(context, job, sides, *, count=30, probe_set="p") -> compared.Compared:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return compared.prepare(context, job, sides, compared.ProbeImages(images, torch.arange(count)), probe_set)


@pytest.fixture
def parts(make, sides, monkeypatch):
    """Does the parts of a comparison of so many images: as what their comparison needs."""

    def done(job: CompareJob, of: int, *, count: int = 30) -> list[Need]:
        monkeypatch.setattr(moments, "read", lambda context, job: prepare(context, job, sides, count=count))
        found = []
        for part in range(of):
            spec = MomentsJob(**job.model_dump(), part=part, of=of).model_dump(mode="json")
            result = moments.run(make(spec=spec, cache_dir=make().settings.cache_dir / str(part)))
            found.append(Need(id=f"part{part}", key="", kind="moments", state="succeeded", spec=spec, result=result))
        return found

    return done


@pytest.mark.parametrize(
    ("of", "count", "nulls"), [(2, 30, True), (12, 20, True), (3, 7, True), (5, 3, True), (16, 9, False)]
)
def test_any_parts_of_any_number_of_images_give_the_same_value(make, sides, parts, of, count, nulls):
    """More parts than there are shards too: those that have none leave empty sums."""
    job = comparison(nulls=nulls)
    needs = parts(job, of, count=count)
    found = compare.measure(
        prepare(make(needs=needs, cache_dir=make().settings.cache_dir / "new"), job, sides, count=count)
    )
    expected = compare.measure(prepare(make(), job, sides, count=count))
    assert_same_numbers(found, expected)


def test_no_image_is_looked_at_again_by_whoever_merges(make, sides, parts, monkeypatch):
    job = comparison()
    needs = parts(job, 2)
    monkeypatch.setattr(compared.Comparisons, "collect", None)
    assert compare.measure(prepare(make(needs=needs), job, sides)).results[0].value is not None


@pytest.mark.parametrize("spoil", ["lost", "damaged", "of other images", "another file"])
def test_a_part_whose_sums_are_of_no_use_is_summed_again_and_the_log_says_so(make, sides, parts, spoil):
    job = comparison()
    needs = parts(job, 3)
    context = make(needs=needs)
    stored = needs[1].result["trained"]
    if spoil == "lost":
        context.store.delete(stored["key"])
    elif spoil == "damaged":
        path = next(path for path in (context.scratch.parent / "store").rglob(stored["key"].rpartition("/")[2]))
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    elif spoil == "another file":
        needs[1].result["trained"] = context.store.put_bytes("jobs/x", b"no sums").model_dump()
    else:
        needs = [needs[0], replace(needs[1], result=needs[1].result | {"probe_set": "others"}), needs[2]]
        context = make(needs=needs)
    found = compare.measure(prepare(context, job, sides))
    assert any("part 2 of 3 is summed again: " in line.get("log", "") for line in context.told)
    assert not any("part 1 of 3" in line.get("log", "") for line in context.told)
    assert_same_numbers(found, compare.measure(prepare(make(), job, sides)))


def test_the_untrained_networks_are_summed_once_for_all_comparisons_of_their_models(make, sides, parts, monkeypatch):
    job = comparison()
    before = parts(job, 2)
    monkeypatch.setattr(compared.Compared, "collect_untrained", None)
    after = parts(comparison(measures=["cka"], variance=0.5), 2)
    assert [need.result["untrained"]["sha256"] for need in before] == [
        need.result["untrained"]["sha256"] for need in after
    ]


def test_parts_of_a_comparison_without_nulls_leave_nothing_of_untrained_networks(parts):
    assert set(parts(comparison(nulls=False), 2)[0].result) == {"probe_set", "trained"}


def test_a_part_that_is_asked_to_stop_stops(make, sides, monkeypatch):
    context = make(spec=MomentsJob(**comparison().model_dump(), part=0, of=2).model_dump(mode="json"))
    context._stop.set()
    monkeypatch.setattr(moments, "read", lambda context, job: prepare(context, job, sides))
    with pytest.raises(JobCancelled):
        moments.run(context)

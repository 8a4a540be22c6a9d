"""From a spec to jobs: stable order, stable keys, shared work."""

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from specs_examples import experiment, facts
from transfusion_core.specs.check import check
from transfusion_core.specs.comparing import comparison_draft
from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.expand import Expansion, expand, plan
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import Facts, RunFacts
from transfusion_core.specs.init import Slim
from transfusion_core.specs.job import CompareJob, JobDraft, TrainJob
from transfusion_core.specs.presets import PRESETS


def expanded(known: Facts | None = None, **changes: object) -> Expansion:
    """The example, changed, as jobs."""
    return expand(ExperimentSpec.model_validate(experiment(**changes)), known or facts())


def test_the_grid_has_a_run_per_model_init_size_and_seed_in_the_order_of_the_spec() -> None:
    cells = expanded(train_sizes=[100, "all"]).cells
    words = [tuple(cell.labels[w] for w in ("model", "init", "train_size", "seed")) for cell in cells]
    assert len(words) == 2 * 3 * 2 * 2
    assert words[:5] == [
        ("cbr-tiny", "random", 100, 0),
        ("cbr-tiny", "random", 100, 1),
        ("cbr-tiny", "random", "all", 0),
        ("cbr-tiny", "random", "all", 1),
        ("cbr-tiny", "pretrained", 100, 0),
    ]


def test_the_same_spec_gives_the_same_keys_whatever_its_name_and_order_of_fields() -> None:
    body = experiment()
    turned = dict(reversed(list(json.loads(json.dumps({**body, "name": "another"})).items())))
    ours, theirs = (expand(ExperimentSpec.model_validate(b), facts()) for b in (body, turned))
    assert [draft.key for draft in ours.drafts] == [draft.key for draft in theirs.drafts]
    assert ours.digest == theirs.digest


@pytest.mark.parametrize(
    "change",
    [{"image_size": 48}, {"training": {"steps": 61}}, {"dataset": "demo-chest"}, {"training": {"lr": 0.002}}],
    ids=str,
)
def test_what_changes_the_numbers_changes_the_key_of_every_run(change: dict[str, object]) -> None:
    ours, theirs = expanded(), expanded(**change)
    assert {cell.key for cell in ours.cells}.isdisjoint(cell.key for cell in theirs.cells)


def test_a_source_is_one_run_per_model_and_its_name_does_not_count() -> None:
    ours = expanded()
    assert [d.labels["model"] for d in ours.of_kind("train") if d.labels["role"] == "source"] == [
        "cbr-tiny",
        "resnet18",
    ]
    renamed = expanded(
        sources={"other": {"pretrain": {"dataset": "demo-natural@1", "training": {"steps": 20}}}},
        inits=["random", {"kind": "pretrained", "source": "other"}, {"kind": "mean_var", "source": "other"}],
    )
    assert {cell.key for cell in ours.cells} == {cell.key for cell in renamed.cells}


def test_more_seeds_keep_the_runs_that_there_are() -> None:
    few, more = expanded(seeds=2), expanded(seeds=3)
    assert {cell.key for cell in few.cells} < {cell.key for cell in more.cells}
    assert {d.key for d in few.of_kind("compare")} < {d.key for d in more.of_kind("compare")}


def test_every_need_is_a_job_that_comes_before() -> None:
    seen: set[str] = set()
    for draft in [*expanded().drafts, *expanded(training=GRID).drafts]:
        assert seen.issuperset(draft.needs), draft.labels
        seen.add(draft.key)


def test_networks_are_compared_within_each_arm_and_each_arm_with_random() -> None:
    drafts = expanded(models=["cbr-tiny"], sections=["similarity"]).of_kind("compare")
    pairs = [draft.labels["pair"] for draft in drafts if draft.labels["role"] == "similarity"]
    whole = [(draft.labels["pair"], draft.spec["pairs"]) for draft in drafts if draft.labels["role"] == "layers"]
    assert whole == [(pair, "all") for pair in ("random-random", "pretrained-random", "mean_var-random")]
    assert sorted(set(pairs)) == [
        "mean_var-mean_var",
        "mean_var-random",
        "pretrained-pretrained",
        "pretrained-random",
        "random-random",
    ]
    assert pairs.count("pretrained-random") == 4
    assert pairs.count("random-random") == 1


def test_arms_that_draw_a_rest_are_compared_with_random_that_drew_another() -> None:
    inits = ["random", transfused("stage2"), {"kind": "gabor"}]
    words = {"models": ["cbr-tiny"], "inits": inits, "seeds": 3, "sections": ["similarity", "movement"]}
    drafts = expanded(**words).of_kind("compare")
    seeds: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for labels in (draft.labels for draft in drafts):
        seeds.setdefault((labels["role"], labels["pair"]), []).append((labels["a"]["seed"], labels["b"]["seed"]))
    for partial in ("transfuse(stage2)", "gabor"):
        assert seeds["similarity", f"{partial}-{partial}"] == [(0, 1), (0, 2), (1, 2)]
        for role in ("similarity", "start"):
            assert sorted(seeds[role, f"{partial}-random"]) == [(0, 1), (1, 2)]
        assert seeds["layers", f"{partial}-random"] == [(0, 1)]


def test_sections_without_similarity_plan_no_comparisons() -> None:
    assert expanded(sections=["performance", "convergence"]).of_kind("compare") == []


def test_the_plan_counts_only_what_does_not_exist() -> None:
    all_of_it = expanded()
    fresh = plan(all_of_it, frozenset())
    assert fresh.images_to_train == (12 * 60 + 2 * 20) * 32
    assert fresh.jobs_by_kind["train"] == 14
    assert not any(run.exists for run in fresh.runs)
    again = plan(all_of_it, frozenset(draft.key for draft in all_of_it.drafts))
    assert (again.new_jobs, again.images_to_train, again.estimated_seconds) == (0, 0, 0)
    assert all(run.exists for run in again.runs)


def test_the_resolved_spec_pins_versions_and_fills_defaults() -> None:
    spec = expanded(dataset="demo-retina", similarity={}).spec
    assert spec.dataset == "demo-retina@1"
    assert spec.inits[2].bn == "reset"
    assert spec.similarity.images == 400, "as many as the test split has"


def test_default_measures_leave_out_cca_where_the_probe_set_is_too_small_and_say_so() -> None:
    small = expanded(similarity={"images": 100})
    assert small.spec.similarity.measures == ["svcca", "cka"]
    assert "cca is left out: resnet18 layer4" in small.warnings[0]


def test_few_samples_per_channel_are_a_warning() -> None:
    assert any("fewer than 5 per channel" in warning for warning in expanded().warnings)


def test_stored_job_specs_can_be_read_back() -> None:
    for draft in expanded().drafts:
        if draft.kind == "train":
            TrainJob.read({**draft.spec, "of_a_newer_version": 1})
        if draft.kind == "compare":
            CompareJob.read(draft.spec)


def test_specs_that_there_were_keep_their_keys() -> None:
    # New fields are left out of the JSON where they say nothing: nobody's finished work is to be trained again.
    cells = expanded().cells
    assert [cell.key[:16] for cell in cells[::4]] == ["62d17fee316c4bee", "3c4cc48fa3a4ba27", "385d0759954c4193"]
    sections = ["performance", "similarity", "movement", "reuse", "convergence", "verdict"]
    assert expanded(sections=sections).digest.startswith("71c5970c47c4001d")


def transfused(prefix: str, **more: object) -> dict[str, object]:
    return {"kind": "transfuse", "source": "natural", "prefix": prefix, **more}


def test_a_ladder_has_a_rung_for_every_stage_of_each_model() -> None:
    ladder = expanded(inits=["random", transfused("all"), transfused("all", rest="mean_var")], seeds=1)
    labels: dict[str, list[str]] = {"cbr-tiny": [], "resnet18": []}
    for cell in ladder.cells:
        labels[cell.labels["model"]].append(cell.labels["init"])
    assert labels["cbr-tiny"] == [
        "random",
        *(f"transfuse(stage{n})" for n in range(1, 5)),
        *(f"transfuse(stage{n},mean_var)" for n in range(1, 5)),
    ]
    assert labels["resnet18"][1:6] == [f"transfuse({s})" for s in ("act1", "layer1", "layer2", "layer3", "layer4")]
    assert ladder.spec.inits[1].prefix == "all"
    assert len({cell.key for cell in ladder.cells}) == 9 + 11


def test_a_rung_is_the_run_that_its_stage_alone_would_be() -> None:
    ladder = expanded(models=["cbr-tiny"], inits=[transfused("all")], seeds=1)
    alone = expanded(models=["cbr-tiny"], inits=[transfused("stage2", rest="random")], seeds=1)
    assert ladder.cells[1].key == alone.cells[0].key
    assert TrainJob.read(alone.cells[0].spec).init.rest == "random"


def test_a_slim_run_says_how_its_network_changes_and_its_source_is_of_the_whole_network() -> None:
    slim = {"kind": "slim", "source": "natural", "prefix": "stage2"}
    ours = expanded(models=["cbr-tiny"], inits=[slim, {**slim, "width": 0.25}], seeds=1)
    assert [cell.labels["init"] for cell in ours.cells] == ["slim(stage2,0.5)", "slim(stage2,0.25)"]
    jobs = [TrainJob.read(cell.spec) for cell in ours.cells]
    assert [job.init.slim for job in jobs] == [Slim(prefix="stage2", width=0.5), Slim(prefix="stage2", width=0.25)]
    (source,) = [d for d in ours.of_kind("train") if d.labels["role"] == "source"]
    assert TrainJob.read(source.spec).init.slim is None
    assert {job.source.run for job in jobs if job.source} == {source.key}


GRID = {"steps": 60, "lr": {"grid": [1e-2, 1e-3, 1e-4]}}


def trials(expansion: Expansion) -> list[JobDraft]:
    """The tuning runs."""
    return [draft for draft in expansion.of_kind("train") if draft.labels["role"] == "tuning"]


def test_a_grid_of_rates_is_tried_once_per_model_and_init_on_the_largest_train_size() -> None:
    ours = expanded(training=GRID, train_sizes=[100, "all", 50], seeds=4)
    assert len(ours.cells) == 2 * 3 * 3 * 4
    assert len(trials(ours)) == 2 * 3 * 3
    assert {(t.labels["train_size"], t.labels["seed"]) for t in trials(ours)} == {("all", 0)}
    assert [t.labels["lr"] for t in trials(ours)[:3]] == [1e-4, 1e-3, 1e-2]
    assert {t.labels["train_size"] for t in trials(expanded(training=GRID, train_sizes=[100, 50]))} == {100}


def test_every_run_of_an_arm_waits_for_the_same_tuning_runs_and_has_a_key_of_its_own() -> None:
    ours = expanded(training=GRID, models=["cbr-tiny"], seeds=2)
    by_arm = [[t.key for t in trials(ours) if t.labels["init"] == init] for init in ("random", "pretrained")]
    for cell, keys in zip(ours.cells[:4], [by_arm[0], by_arm[0], by_arm[1], by_arm[1]], strict=True):
        assert TrainJob.read(cell.spec).tuned_by == keys
        assert set(keys) < set(cell.needs)
    assert len({cell.key for cell in ours.cells}) == 6


def test_a_grid_in_another_order_is_the_same_and_a_wider_one_shares_what_was_tried() -> None:
    ours, turned = expanded(training=GRID), expanded(training={**GRID, "lr": {"grid": [1e-4, 1e-2, 1e-3]}})
    assert [draft.key for draft in ours.drafts] == [draft.key for draft in turned.drafts]
    wider = expanded(training={**GRID, "lr": {"grid": [1e-4, 1e-2, 1e-3, 1e-1]}})
    assert {t.key for t in trials(ours)} < {t.key for t in trials(wider)}
    assert {cell.key for cell in ours.cells}.isdisjoint(cell.key for cell in wider.cells)


def test_a_tuning_run_that_diverges_is_not_retried_at_a_rate_that_is_not_its_own() -> None:
    ours = expanded(training={**GRID, "retry_on_divergence": True})
    assert not any(TrainJob.read(trial.spec).training.retry_on_divergence for trial in trials(ours))
    assert all(TrainJob.read(cell.spec).training.retry_on_divergence for cell in ours.cells)
    assert [t.key for t in trials(ours)] == [t.key for t in trials(expanded(training=GRID))]


def test_the_plan_counts_tuning_runs_and_not_the_runs_that_they_are_already() -> None:
    made = plan(expanded(training=GRID, models=["cbr-tiny"], inits=["random"], seeds=3), frozenset())
    assert (len(made.runs), made.tuning_runs, made.jobs_by_kind["train"]) == (3, 3, 6)
    assert made.images_to_train == (3 + 3 - 1) * 60 * 32
    assert plan(expanded(), frozenset()).tuning_runs == 0


def test_a_comparison_of_its_own_equals_the_one_an_experiment_makes() -> None:
    ours = expanded(models=["cbr-tiny"], sections=["reuse"])
    draft, cell = ours.of_kind("compare")[0], ours.cells[0]
    ingest = facts().datasets["demo-retina"].ingest.key
    run = RunFacts(key=cell.key, model="cbr-tiny", dataset=ingest, image_size=64, steps=None)
    spec = ComparisonSpec.model_validate(
        {"a": "r1@init", "b": "r1@final", "measures": ["cca", "svcca", "cka"], "images": 300}
    )
    assert comparison_draft(spec, run, run, ingest).key == draft.key


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_spec_once_it_has_a_dataset(name: str) -> None:
    body = {**PRESETS[name], "dataset": "demo-retina"}
    large = {key: replace(found, splits=None) for key, found in facts().datasets.items()}
    known = replace(facts(), datasets=large)
    assert check(body, known) == []
    expand(ExperimentSpec.model_validate(body), known)


def test_specs_do_not_change_once_made() -> None:
    spec = ExperimentSpec.model_validate(experiment())
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"  # type: ignore[misc]


def test_a_stored_spec_is_read_although_its_model_has_left_the_catalogue() -> None:
    stored = experiment(models=["of-an-older-version"])
    assert ExperimentSpec.read(stored).models == ["of-an-older-version"]
    with pytest.raises(ValidationError, match="there is no model"):
        ExperimentSpec.model_validate(stored)


def test_pixels_are_made_once_for_each_dataset_and_needed_by_all_that_look_at_images() -> None:
    ours = expanded(sections=["performance", "similarity", "robustness"])
    made = {draft.labels["dataset"]: draft.key for draft in ours.of_kind("pixels")}
    assert len(made) == 2
    for draft in ours.drafts:
        if draft.kind in ("train", "compare", "probe", "barrier"):
            name = draft.labels["dataset"] if draft.labels["role"] == "source" else ours.spec.dataset
            assert made[name] in draft.needs
    fresh, existing = plan(ours, frozenset()), plan(ours, frozenset(made.values()))
    assert fresh.estimated_bytes > existing.estimated_bytes
    assert fresh.estimated_seconds > existing.estimated_seconds

"""Which probes and barriers the section `robustness` plans."""

from specs_examples import experiment, facts
from transfusion_core.specs.expand import Expansion, expand, plan
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.robustness import BarrierJob, ProbeJob


def expanded(**changes: object) -> Expansion:
    """The example, changed, for the section `robustness`."""
    body = {"models": ["cbr-tiny"], "sections": ["robustness"], **changes}
    return expand(ExperimentSpec.model_validate(experiment(**body)), facts())


def ends(draft: JobDraft) -> tuple[object, ...]:
    a, b = draft.labels["a"], draft.labels["b"]
    return a["init"], a["seed"], b["init"], b["seed"]


def test_only_the_section_plans_them() -> None:
    without = expand(ExperimentSpec.model_validate(experiment(sections=["performance"])), facts())
    assert without.of_kind("probe") == without.of_kind("barrier") == []


def test_each_cell_is_probed_and_source_runs_are_not() -> None:
    ours = expanded()
    jobs = [ProbeJob.read(draft.spec) for draft in ours.of_kind("probe")]
    assert [job.run for job in jobs] == [cell.key for cell in ours.cells]
    found = plan(ours, frozenset()).jobs_by_kind
    assert found == {"ingest": 2, "pixels": 2, "train": 7, "probe": 6, "barrier": 7, "report": 1}


def test_lines_go_between_neighbouring_seeds_and_from_each_arm_to_random_of_the_same_seed() -> None:
    assert [ends(draft) for draft in expanded(seeds=3).of_kind("barrier")] == [
        ("random", 0, "random", 1),
        ("random", 1, "random", 2),
        ("pretrained", 0, "random", 0),
        ("pretrained", 0, "pretrained", 1),
        ("pretrained", 1, "random", 1),
        ("pretrained", 1, "pretrained", 2),
        ("pretrained", 2, "random", 2),
        ("mean_var", 0, "random", 0),
        ("mean_var", 0, "mean_var", 1),
        ("mean_var", 1, "random", 1),
        ("mean_var", 1, "mean_var", 2),
        ("mean_var", 2, "random", 2),
    ]


def test_no_line_joins_models_or_train_sizes_or_networks_of_other_shapes() -> None:
    slim = {"kind": "slim", "source": "natural", "prefix": "stage2"}
    ours = expanded(models=["cbr-tiny", "cbr-small"], inits=["random", slim], train_sizes=[100, "all"], seeds=2)
    pairs = [draft.labels["pair"] for draft in ours.of_kind("barrier")]
    assert sorted(pairs) == ["random-random"] * 4 + ["slim(stage2,0.5)-slim(stage2,0.5)"] * 4
    runs = {cell.key: cell.labels for cell in ours.cells}
    for draft in ours.of_kind("barrier"):
        a, b = (runs[key] for key in (BarrierJob.read(draft.spec).a, BarrierJob.read(draft.spec).b))
        assert all(a[word] == b[word] == draft.labels[word] for word in ("model", "train_size"))


def test_blocks_are_at_least_two_pixels_wide() -> None:
    blocks = {size: expanded(image_size=size).of_kind("probe")[0].spec["blocks"] for size in (16, 24, 32)}
    assert blocks == {16: [1, 2, 4, 8], 24: [1, 2, 4, 8], 32: [1, 2, 4, 8, 16]}


def test_more_seeds_keep_the_jobs_that_there_are_and_names_do_not_count() -> None:
    few, more = expanded(seeds=2), expanded(seeds=3)
    assert {draft.key for draft in few.drafts[:-1]} < {draft.key for draft in more.drafts}
    for draft in [*few.of_kind("probe"), *few.of_kind("barrier")]:
        assert not {"cbr-tiny", "natural", "demo-retina", "random"} & {str(value) for value in draft.spec.values()}

"""Methods, references and the spec to run again."""

from typing import Any

from specs_examples import facts
from studies import DATASET_DIGEST, expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.report import Report

STAGES = [{"kind": "transfuse", "source": "natural", "prefix": "all"}]


def report(failed: Any = lambda labels: False, **changes: Any) -> Report:
    """The report of the example experiment, changed."""
    expanded = expansion(**changes)
    return build(expanded.spec.model_dump(mode="json"), jobs(expanded, failed=failed))


def test_methods_state_data_starts_training_comparisons_and_software_with_their_digests() -> None:
    methods = report().methods
    for told in (
        f"demo-retina@1 (ordinal; 2000 images, 1300 train, 300 val and 400 test; 5 classes; sha256 {DATASET_DIGEST})",
        "resized to 64 x 64 pixels",
        "cbr-tiny and resnet18",
        "`mean_var` draws each tensor from a normal distribution",
        "its batch norms by `reset`",
        "The source natural was trained here on demo-natural@1 from seed 1000: optimizer adam, learning rate 0.001",
        "natural for cbr-tiny: digest of cbr-tiny's source; natural for resnet18: digest of resnet18's source",
        "batch size 32, steps 60, eval every 20",
        "seeds 0 to 1",
        "12 of 12 runs have a result",
        "cca, svcca and cka on 300 images of the test split (drawn by seed 0; sha256 d)",
        "SVCCA on 99% of the variance; protocol full, products in float64",
        "transfusion 0.1.0, python 3.11.2 and torch 2.15.0, on cpu",
    ):
        assert told in methods


def test_leaks_are_told_in_every_report_whatever_sections_it_has() -> None:
    expanded = expansion(sections=["performance"])
    done = jobs(expanded)
    for job in done:
        if job["kind"] == "ingest":
            job["result"]["across_splits"] = {"patients": 3, "files": 0}
    told = "Leaks: 3 patients are in more than one split. A network may know such test images from training"
    assert told in build(expanded.spec.model_dump(mode="json"), done).methods
    assert "Leaks" not in report(sections=["performance"]).methods


def test_settings_that_differ_from_the_defaults_are_all_told() -> None:
    training = {"optimizer": "sgd", "lr": {"grid": [0.1, 0.01]}, "early_stopping": {"patience": 3}, "steps": 60}
    training |= {"class_weights": [1, 2, 1, 1, 1], "deterministic": False, "schedule": "step", "step_every": 5}
    methods = report(training=training, train_sizes=[100, "all"], seeds=1).methods
    for told in (
        "learning rate that of 0.01 and 0.1 which did best on validation",
        *("momentum 0.9", "step factor 0.1", "deterministic False", "class weights 1, 2, 1, 1 and 1"),
        *("early stopping (patience 3, metric loss, keep best)", "repeated for seed 0;", "trained on 100 and all of"),
    ):
        assert told in methods
    assert "weight decay" not in methods


def test_every_kind_of_init_and_source_is_told() -> None:
    spec: dict[str, Any] = {
        "models": ["cbr-tiny"],
        "inits": [
            {"kind": "pretrained", "source": "natural", "skip": ["conv1.weight"]},
            {"kind": "slim", "source": "natural", "prefix": "conv1"},
            *("random", "gabor"),
        ],
    }
    expanded = expansion(**spec)
    words = expanded.spec.model_dump(mode="json")
    words["sources"] |= {"a": {"timm": "default"}, "b": {"weights": "mine"}, "c": {"run": "x@final"}}
    words["inits"] += STAGES
    methods = build(words, []).methods
    for told in (
        *("but for conv1.weight", "0.5 times the channels", "Gabor functions", "up to each stage in turn"),
        *("published weights of timm, tag default", "the weight file mine", "the run x@final"),
    ):
        assert told in methods


def test_a_study_of_which_nothing_is_left_still_says_what_was_asked() -> None:
    methods = report(failed=lambda labels: "role" in labels).methods
    assert "demo-retina@1 (ordinal)" in methods
    assert "0 of 12 runs have a result" in methods
    assert "Software" not in methods


def test_an_experiment_of_grids_tells_each_and_not_that_every_arm_has_every_seed() -> None:
    pretrained = {"kind": "pretrained", "source": "natural"}
    axes: dict[str, Any] = {"models": ["cbr-tiny"], "inits": ["random"], "train_sizes": ["all"], "seeds": 2}
    grids = [axes, {**axes, "inits": [pretrained], "train_sizes": [100, "all"], "seeds": 1}]
    said = report(models=["cbr-tiny"], inits=["random", pretrained], train_sizes=["all", 100], grids=grids)
    assert (
        "Not every arm has every size and seed; there are cbr-tiny from `random` on all images with seeds 0 to 1; "
        "cbr-tiny from `pretrained` (natural) on 100 and all images with seed 0; the same seed"
    ) in said.methods
    assert "4 of 4 runs have a result." in said.methods
    assert "repeated" not in said.methods
    assert said.spec["grids"] == expansion(**said.spec).spec.model_dump(mode="json")["grids"]


def test_sections_without_comparisons_say_nothing_of_them() -> None:
    assert "Representations" not in report(sections=["performance"]).methods


def test_references_are_the_paper_and_what_was_used() -> None:
    made = report()
    keys = ["raghu2019transfusion", "hotelling1936relations", "raghu2017svcca", "kornblith2019similarity"]
    tests = ["schuirmann1987comparison", "delong1988comparing", "mantel1966evaluation", "holm1979simple"]
    assert [known.key for known in made.references] == [*keys, "neyshabur2020what", *tests]
    assert made.references[0].bibtex.startswith("@inproceedings{raghu2019transfusion,\n  author = {Raghu, Maithra and ")
    assert "Biometrika 28(3/4): 321–377." in made.references[1].text
    alone = report(sections=["movement"], similarity={"measures": ["cka"], "images": 300})
    assert [known.key for known in alone.references] == [keys[0], keys[3]]
    tried = [known.key for known in report(sections=["robustness"]).references]
    assert tried == [keys[0], "zhang2022layers", "alain2016understanding", "frankle2020linear", "neyshabur2020what"]


def test_the_spec_that_runs_it_again_plans_the_same_jobs() -> None:
    again = expand(ExperimentSpec.model_validate(report().spec), facts())
    assert [draft.key for draft in again.drafts] == [draft.key for draft in expansion().drafts]


def test_the_digest_covers_how_the_numbers_were_made() -> None:
    expanded = expansion()
    spec, done = expanded.spec.model_dump(mode="json"), jobs(expanded)
    before = build(spec, done)
    for job in done:
        if job["kind"] == "train":
            job["result"]["manifest"]["environment"]["torch"] = "3.0.0"
    after = build(spec, done)
    assert before.sections == after.sections
    assert before.digest != after.digest

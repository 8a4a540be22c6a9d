"""Which jobs the section `dataset` plans."""

from specs_examples import experiment, facts
from transfusion_core.specs.expand import Expansion, expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.robustness import ProbeJob


def expanded(**changes: object) -> Expansion:
    return expand(ExperimentSpec.model_validate(experiment(**changes)), facts())


def test_only_the_section_plans_them() -> None:
    ours = expanded(sections=["performance"])
    assert ours.of_kind("profile") == ours.of_kind("probe") == []


def test_one_profile_and_a_probe_of_each_seed_of_the_first_init_that_shuffles_blocks_alone() -> None:
    ours = expanded(sections=["dataset"], train_sizes=[100, "all"])
    (profile,) = ours.of_kind("profile")
    (ingest,) = [draft for draft in ours.of_kind("ingest") if draft.key in profile.needs]
    assert profile.spec == {"dataset": ingest.key}
    probes = ours.of_kind("probe")
    words = [tuple(draft.labels[word] for word in ("model", "init", "train_size", "seed")) for draft in probes]
    assert words == [(model, "random", "all", seed) for model in ours.spec.models for seed in (0, 1)]
    assert not any(ProbeJob.read(draft.spec).stages for draft in probes)


def test_beside_robustness_its_probes_are_enough() -> None:
    ours, alone = (expanded(sections=sections) for sections in (["dataset", "robustness"], ["robustness"]))
    keys = [{draft.key for draft in each.drafts if draft.kind != "report"} for each in (ours, alone)]
    assert keys[0] - keys[1] == {draft.key for draft in ours.of_kind("profile")}

"""What a section of a report needs of a spec: the plan warns of what is not there, and the report says it again."""

from transfusion_core.specs.experiment import ExperimentSpec

PARTIAL = ("transfuse", "slim", "gabor")
"""Kinds of init that take, or draw, a part of a network."""
WHOLE = ("pretrained", "mean_var")


def lacking(spec: ExperimentSpec) -> dict[str, str]:
    """For each section that was asked for and cannot be whole: what the spec would have to have."""
    found = {
        "small_data": _one_size(spec),
        "similarity": _one_network(spec),
        "reuse": _no_contrast(spec, "features are reused where it keeps more than random does"),
        "convergence": _no_random(spec),
        "transfusion": _no_part(spec),
        "verdict": None if len(spec.models) > 1 else _no_contrast(spec, "the claims are of what it changes"),
    }
    return {section: words for section in spec.sections if (words := found.get(section))}


def _kinds(spec: ExperimentSpec) -> set[str]:
    return {init.kind for init in spec.inits}


def _one_size(spec: ExperimentSpec) -> str | None:
    if len(spec.train_sizes) > 1:
        return None
    return "a second size among train_sizes: gain against size takes two"


def _one_network(spec: ExperimentSpec) -> str | None:
    """Arms with a part of a source's stages meet random of the next seed, so those need two seeds as well."""
    if spec.seeds > 1 or ("random" in _kinds(spec) and _kinds(spec).intersection(WHOLE)):
        return None
    return "a second network to compare with: two seeds, or random beside pretrained or mean_var"


def _no_contrast(spec: ExperimentSpec, why: str) -> str | None:
    if "random" in _kinds(spec) and len(_kinds(spec)) > 1:
        return None
    return f"random and another init: {why}"


def _no_random(spec: ExperimentSpec) -> str | None:
    if "random" in _kinds(spec):
        return None
    return "the init random: the threshold is a share of what it reaches"


def _no_part(spec: ExperimentSpec) -> str | None:
    if _kinds(spec).intersection(PARTIAL):
        return None
    return f"an init among {', '.join(PARTIAL)}"

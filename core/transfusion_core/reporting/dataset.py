"""What the images are like: samples, counts, patients, duplicates and leaks, and whether networks need their shapes."""

from collections.abc import Iterator, Sequence
from typing import Any

from transfusion_core.reporting.charts.dataset import classes, intensities, resolutions, samples, texture
from transfusion_core.reporting.methods import KNOWN_IMAGES, listed
from transfusion_core.reporting.probed import missing_probes, probed
from transfusion_core.reporting.robustness import arm_rows
from transfusion_core.reporting.study import Arm, Study
from transfusion_core.specs.experiment import largest
from transfusion_core.specs.profile import DatasetProfile
from transfusion_core.specs.report import ReportSection, Row

_FOUND = {
    "exact": "{groups} groups of images with the same pixels ({across_splits} across splits, {across_labels} with "
    "several labels)",
    "near": "{groups} groups of near duplicates ({across_splits} across splits, {across_labels} with several labels)",
    "patient": "{groups} patients with images in more than one split",
}


def dataset(study: Study) -> ReportSection:
    """Rows of counts, then of groups of images, then samples, then AUROC by blocks of each model's first init."""
    found, missing = _profile(study)
    table = profile_rows(found) if found else []
    plain = [_first(study, model) for model in dict.fromkeys(arm.model for arm in study.arms)]
    probes = [each for each in probed(study) if each.cell.arm in plain]
    for arm in plain:
        table += [
            row for row in arm_rows(arm, [each for each in probes if each.cell.arm == arm]) if row.blocks is not None
        ]
    missing += missing_probes(probes)
    charts = {**profile_charts(table), "texture": texture(table)}
    return ReportSection(
        complete=not missing,
        missing=missing,
        text=f"{_told(found)} {_TEXT}" if found else _TEXT,
        charts=charts,
        table=table,
    )


def profile_rows(found: DatasetProfile) -> list[Row]:
    """A profile as the rows of a table."""
    return [*_counts(found), *_groups(found), *_intensities(found), *_samples(found)]


def profile_charts(table: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """What is drawn of these rows."""
    drawn = {"figure-1": samples, "classes": classes, "resolutions": resolutions, "intensities": intensities}
    return {name: draw(table) for name, draw in drawn.items()}


_TEXT = (
    "Rows of metric images count images per split and class (for multilabel the positives), missing those that do not "
    "say whether they have a label, resolution those of a size in pixels, patients those whose images are in a split. "
    "intensity is the share of a channel's pixels that are as bright as the label says (0 black, 1 white), every image "
    "counting alike. Rows of metric groups count groups of images that are the same or, across splits, of the same "
    "patient; the profile of the dataset lists their files. block_shuffle is the test AUROC, and the AUROC lost, where "
    "test images are cut into blocks x blocks pieces in random order: a dataset of texture loses little, one of shape "
    "much; of each model's first init at its largest train size."
)


def _profile(study: Study) -> tuple[DatasetProfile | None, list[str]]:
    """The profile, or why there is none."""
    for job in study.jobs:
        if job["kind"] == "profile" and job["result"]:
            return DatasetProfile.model_validate(job["result"]), []
        if job["kind"] == "profile":
            why = ": ".join(filter(None, (job["state"], job["reason"])))
            return None, [f"profile of {study.spec.dataset} ({why})"]
    return None, [f"profile of {study.spec.dataset}"]


def _first(study: Study, model: str) -> Arm:
    ours = [arm for arm in study.arms if arm.model == model]
    most = largest(arm.train_size for arm in ours)
    return next(arm for arm in ours if arm.train_size == most)


def _counts(found: DatasetProfile) -> Iterator[Row]:
    for split, images in found.splits.items():
        yield Row(split=split, metric="images", value=images)
        for name, count in found.counts.get(split, {}).items():
            yield Row(split=split, label=name, metric="images", value=count)
    for split, labels in found.missing.items():
        for name, count in labels.items():
            yield Row(split=split, label=name, metric="missing", value=count)
    for size, count in found.resolutions.items():
        yield Row(label=size, metric="resolution", value=count)
    if found.patients is None:
        yield Row(metric="patients", reason="patients are not known")
        return
    yield Row(metric="patients", value=found.patients.total)
    for split, count in found.patients.splits.items():
        yield Row(split=split, metric="patients", value=count)


def _groups(found: DatasetProfile) -> Iterator[Row]:
    for each in found.found:
        known = each.kind != "patient" or found.patients is not None
        for metric, value in (
            ("groups", each.groups),
            ("groups_across_splits", each.across_splits),
            ("groups_across_labels", each.across_labels),
        ):
            reason = None if known else "patients are not known"
            yield Row(measure=each.kind, metric=metric, value=value if known else None, n=each.files, reason=reason)


def _intensities(found: DatasetProfile) -> Iterator[Row]:
    for each in found.intensities:
        yield Row(measure=each.channel, metric="intensity_mean", value=each.mean, sd=each.std)
        for place, share in enumerate(each.histogram):
            middle = (place + 0.5) / len(each.histogram)
            yield Row(measure=each.channel, label=f"{middle:.3f}", metric="intensity", value=share)


def _samples(found: DatasetProfile) -> Iterator[Row]:
    for each in found.samples:
        yield Row(label=each.label, metric="samples", picture=each.picture, reason="a picture")


def _told(found: DatasetProfile) -> str:
    """What should be known before any other number is read."""
    groups = [each for each in found.found if each.kind != "patient" or found.patients]
    counted = listed(_FOUND[each.kind].format(**each.model_dump()) for each in groups)
    leaks = f" {KNOWN_IMAGES}" if any(each.across_splits for each in groups) else ""
    return f"There are {counted}.{leaks}"

"""Table 3: what transfer gains as images get fewer and networks smaller."""

from collections.abc import Iterator

from transfusion_core.reporting.charts.small_data import gain_by_capacity, gain_by_size
from transfusion_core.reporting.correction import corrected
from transfusion_core.reporting.published import PUBLISHED_SIZE, table_3
from transfusion_core.reporting.quality import delta_rows, headline, parameters_row, quality_row
from transfusion_core.reporting.study import Arm, Study
from transfusion_core.specs.report import ReportSection, Row


def small_data(study: Study) -> ReportSection:
    """A row per arm, then rows of each init's gain over random at every train size."""
    label = headline(study)
    table = [row for arm in study.arms for row in _arm_rows(study, arm, label)]
    table += [row for arm in study.arms if arm.init != "random" for row in delta_rows(study, arm, [label])]
    sizes = {arm.train_size: study.images_of(arm.train_size) for arm in study.arms}
    table += [
        Row(train_size=size, metric="train_images", value=images, reason=None if images else "the dataset is missing")
        for size, images in sizes.items()
    ]
    missing = study.missing_cells()
    return ReportSection(
        complete=not missing,
        missing=missing,
        text=_text(label),
        charts={"gain-by-size": gain_by_size(table), "gain-by-capacity": gain_by_capacity(table)},
        table=corrected(table),
    )


def _text(label: str) -> str:
    return (
        f"Test AUROC ({label!r}) at each train size, smaller sets inside larger ones, and the parameters of each "
        "network. Rows with a pair are the transfer gain: the init minus random over the same seeds, with its 95% t "
        "interval; of metric auroc p is of the equivalence test (TOST), of auroc_difference of the paired t test, both "
        "corrected by Holm within this table (p_adjusted). The first chart draws the gain against the number of train "
        f"images, the second against the number of parameters. Published values are of {PUBLISHED_SIZE} of the paper's "
        "own retinal images."
    )


def _arm_rows(study: Study, arm: Arm, label: str) -> Iterator[Row]:
    of_paper = study.task == "ordinal" and arm.train_size == PUBLISHED_SIZE
    known = table_3(arm.model, arm.init) if of_paper else None
    yield quality_row(study.seeds_of(arm), arm, label, "auroc", known)
    if row := parameters_row(study, arm):
        yield row

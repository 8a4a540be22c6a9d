"""Report sections as tables."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from transfusion_client.tables import _EVERY, make_table, number, print_report, tables_of
from transfusion_core.specs.report import Report, Row


@pytest.fixture
def printed(answering: Any) -> Any:
    def show(section: str | None = None) -> str:
        paper = StringIO()
        console = Console(file=paper, width=160)
        print_report(Report.model_validate(answering["report_of"]()), console, section=section)
        return paper.getvalue()

    return show


def test_performance_reads_like_table_1(printed: Any) -> None:
    text = printed("performance")
    assert "Performance (Table 1)" in text
    assert "0.8125 ± 0.0125" in text
    assert "0.9645 [t]" in text
    assert "pretrained (natural)" in text
    assert "one class only" in text
    assert "grade 4" not in text
    assert "pretrained-random" in text.split("Differences of inits")[1]
    assert "Similarity" not in text


def test_learning_rates_have_a_table_of_their_own() -> None:
    tried = [
        Row(model="cbr-tiny", init="random", seed=0, lr=lr, chosen=lr == 0.001, metric="val_auroc", value=0.5 + lr)
        for lr in (0.001, 0.0001)
    ]
    quality = Row(model="cbr-tiny", init="random", label="dr", metric="auroc", value=0.9)
    (_, _, arms), _, (title, columns, rows) = tables_of("performance", [quality, *tried])
    assert arms == [quality]
    assert title == "Learning rates, chosen on validation"
    assert [[show(row) for _, show in columns] for row in rows] == [
        ["cbr-tiny", "random", "val_auroc", "0.001", "0.5010", "yes"],
        ["cbr-tiny", "random", "val_auroc", "0.0001", "0.5001", ""],
    ]


def test_every_section_is_printed_with_its_numbers(printed: Any) -> None:
    text = printed()
    for wanted in ("Figure 2", "random-random", "0.3600", "Figure 3", "Figure 4", "stage2", "0.1250", "8,300"):
        assert wanted in text
    assert "777" not in text


def test_an_unknown_section_gets_every_column_and_says_what_is_missing(printed: Any) -> None:
    text = printed("novelty")
    assert "question 1" in text
    assert "Transfer does [not] help." in text
    assert "not complete; missing: r2" in text


def test_the_verdict_is_a_table_of_answers_and_one_of_advice(printed: Any) -> None:
    verdict, advice = printed("verdict").split("Advice")
    assert "Does it help?" in verdict
    assert "cannot tell" in verdict
    assert "Take the small one." in advice


def test_columns_without_values_are_left_out(printed: Any) -> None:
    assert "null (iid)" not in printed("similarity")
    assert "null (iid)" in printed("reuse")


def test_numbers_are_short() -> None:
    assert [number(value) for value in (None, 0.12345, 99.0, 8300.4, -150.0)] == [
        "",
        "0.1235",
        "99.0000",
        "8,300",
        "-150",
    ]


def test_referable_grades_are_a_headline_and_without_any_headline_every_label_is_shown() -> None:
    rows = [Row(model="m", init="random", label=label, metric="auroc", value=0.5) for label in (">=1", ">=2", "macro")]
    (_, _, arms), *_ = tables_of("performance", rows)
    assert [row.label for row in arms] == [">=2", "macro"]
    (_, _, arms), *_ = tables_of("performance", rows[:1])
    assert [row.label for row in arms] == [">=1"]


def _shown(section: str, rows: list[Row]) -> list[tuple[str, list[list[str]]]]:
    """The tables of a section as text, without columns that say nothing."""
    return [
        (title, [[text for _, show in columns if (text := show(row))] for row in kept])
        for title, columns, kept in tables_of(section, rows)
    ]


ARM: dict[str, Any] = {"model": "m", "init": "pretrained", "train_size": 100, "label": "macro"}


def test_the_interval_over_patients_stands_beside_that_over_seeds() -> None:
    arm = Row(**ARM, metric="auroc", value=0.8, n=3, interval=[0.7, 0.9])
    patients = Row(**ARM, metric="auroc_resampled", measure="patients", value=0.8, interval=[0.75, 0.85])
    run = Row(**ARM, metric="auroc_of_run", seed=0, value=0.81)
    (_, arms), *_ = _shown("performance", [arm, patients, run])
    assert arms == [["m", "pretrained", "100", "macro", "0.8000", "3", "0.7000 … 0.9000", "0.7500 … 0.8500"]]


def test_small_data_has_its_arms_and_gains_with_both_tests() -> None:
    pair = {**ARM, "pair": "pretrained-random", "value": 0.05, "p_value": 0.01, "p_adjusted": 0.02, "seeds_needed": 4}
    rows = [
        Row(**ARM, metric="auroc", value=0.8),
        Row(**ARM, metric="parameters", value=10),
        Row(**pair, metric="auroc", test="tost"),
        Row(**pair, metric="auroc_difference", test="paired t"),
    ]
    (_, arms), (_, pairs) = _shown("small_data", rows)
    assert len(arms) == 1
    assert [line[-4:] for line in pairs] == [[test, "0.0100", "0.0200", "4"] for test in ("tost", "paired t")]


def test_speed_ups_and_areas_do_not_stand_among_the_steps() -> None:
    arm = {"model": "m", "init": "pretrained"}
    rows = [
        Row(**arm, metric="restricted_mean_steps", value=200),
        Row(**arm, metric="speed_up", pair="pretrained-random", reason="at least 2", p_value=0.04, test="log-rank"),
        Row(**arm, metric="area_under_curve", value=0.7),
    ]
    (_, steps), (_, speed), (_, areas) = _shown("convergence", rows)
    assert steps == [["m", "pretrained", "restricted_mean_steps", "200"]]
    assert speed == [["m", "pretrained", "speed_up", "pretrained-random", "at least 2", "log-rank", "0.0400"]]
    assert areas == [["m", "pretrained", "area_under_curve", "0.7000"]]


def test_labels_that_look_like_markup_are_printed_as_they_are() -> None:
    paper = StringIO()
    rows = [
        Row(model="cbr-tiny", init="random", label=label, metric="auroc", value=0.5) for label in ("[/x]", "[red]y")
    ]
    Console(file=paper, width=160).print(make_table("of [/these]", _EVERY, rows))
    assert all(words in paper.getvalue() for words in ("[/x]", "[red]y", "of [/these]"))

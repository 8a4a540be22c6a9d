"""Report sections as tables."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from transfusion_client.tables import number, print_report, tables_of
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

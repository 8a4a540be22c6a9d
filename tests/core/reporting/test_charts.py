"""The look that charts share."""

from studies import expansion, jobs
from transfusion_core.reporting.build import SECTIONS, build
from transfusion_core.reporting.charts import CHARTS
from transfusion_core.reporting.charts.base import (
    COLOURS,
    MOST_SHARED,
    STEP,
    THEME,
    init_colour,
    init_order,
    init_shape,
    pair_colour,
    tint,
)
from transfusion_core.specs.report import Row


def rows(*inits: str) -> list[Row]:
    return [Row(model="m", init=init, source=None if init == "random" else "s", value=1.0) for init in inits]


def test_inits_have_one_order_whatever_the_table_has() -> None:
    table = rows("slim(stage1,0.5)", "transfuse(stage2)", "transfuse(stage1)", "pretrained", "novel", "random")
    assert init_order(table) == [
        *("random", "pretrained (s)", "transfuse(stage2) (s)", "transfuse(stage1) (s)"),
        *("slim(stage1,0.5) (s)", "novel (s)"),
    ]


def test_an_init_has_the_same_colour_in_a_table_without_the_others() -> None:
    both = init_colour(rows("random", "pretrained")).to_dict()["scale"]
    alone = init_colour(rows("pretrained")).to_dict()["scale"]
    assert both["range"] == COLOURS[:2]
    assert alone == {"domain": ["pretrained (s)"], "range": [COLOURS[1]]}


def test_inits_of_one_kind_are_lighter_one_after_the_other() -> None:
    colours = init_colour(rows("transfuse(a)", "transfuse(b)", "transfuse(c)")).to_dict()["scale"]["range"]
    assert len(set(colours)) == 3
    assert colours[0] == COLOURS[4]
    assert tint("#000000", 0.5) == "#808080"


def test_an_axis_that_names_inits_needs_no_legend() -> None:
    assert init_shape(rows("random"), legend=False).to_dict()["legend"] is None
    assert "legend" not in init_shape(rows("random")).to_dict()


def test_pairs_are_coloured_by_their_first_init_and_light_where_the_second_is_another() -> None:
    table = [Row(init="pretrained", pair=pair, value=1.0) for pair in ("pretrained-random", "pretrained-pretrained")]
    scale = pair_colour(table).to_dict()["scale"]
    assert scale["domain"] == ["pretrained-pretrained", "pretrained-random"]
    assert scale["range"] == [COLOURS[1], tint(COLOURS[1], 0.5)]


def test_names_on_an_axis_are_the_models_own_where_they_are_many() -> None:
    few, many = (CHARTS["performance"](auroc(count)) for count in (MOST_SHARED, MOST_SHARED + 1))
    assert few["resolve"] == {"axis": {"x": "independent"}}
    assert many["resolve"]["scale"] == {"y": "independent"}
    assert many["spec"]["height"] == {"step": STEP}


def auroc(count: int) -> list[Row]:
    return [Row(model="m", init=f"slim({n})", label="macro", metric="auroc", value=0.5) for n in range(count)]


def test_every_chart_of_a_report_is_known_by_name_and_has_the_shared_look() -> None:
    expanded = expansion(sections=list(SECTIONS))
    report = build(expanded.spec.model_dump(mode="json"), jobs(expanded))
    drawn = {name: chart for section in report.sections.values() for name, chart in section.charts.items()}
    assert set(drawn) == set(CHARTS)
    assert all(chart["config"] == THEME for chart in drawn.values())


def test_every_chart_of_similarities_draws_what_noise_would_give() -> None:
    expanded = expansion(sections=["similarity", "movement", "reuse"])
    made = build(expanded.spec.model_dump(mode="json"), jobs(expanded))
    charts = {name: chart for section in made.sections.values() for name, chart in section.charts.items()}
    for name in ("figure-2", "figure-3", "figure-4", "layers", "through-training"):
        (points,) = charts[name]["datasets"].values()
        assert any(point.get("null_iid") is not None for point in points), name

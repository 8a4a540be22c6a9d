"""Parquet files as another library reads them: Arrow's, in Rust, whose reader is strict."""

import io
import math
from typing import Any

import pytest
from arro3.core import Table
from arro3.io import read_parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from transfusion_core.reporting import parquet

VALUES = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(),
    str: st.text(st.characters(exclude_categories=["Cs"])),
}


def _read(columns: dict[str, tuple[type, list[Any]]]) -> Table:
    return read_parquet(io.BytesIO(parquet.write(columns))).read_all()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_written_is_read_back(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 40))
    names = data.draw(st.lists(st.text(st.characters(exclude_categories=["C"])), min_size=1, max_size=20, unique=True))
    columns: dict[str, tuple[type, list[Any]]] = {}
    for name in names:
        kind = data.draw(st.sampled_from(list(VALUES)))
        values = st.none() | VALUES[kind]
        columns[name] = kind, data.draw(st.lists(values, min_size=rows, max_size=rows))
    table = _read(columns)
    assert table.column_names == names
    for name, (_, values) in columns.items():
        assert [repr(value) for value in table.column(name).to_pylist()] == [repr(value) for value in values]


def test_columns_without_a_value_and_long_runs_keep_their_types_and_places() -> None:
    gaps = [None if place % 1000 < 500 else place for place in range(20_000)]
    table = _read({"none": (float, [None] * 20_000), "gaps": (int, gaps), "words": (str, ["é" * 300] * 20_000)})
    assert [str(field.type).strip() for field in table.schema] == [
        f"arro3.core.DataType<{name}>" for name in ("Float64", "Int64", "Utf8")
    ]
    assert table.column("none").to_pylist() == [None] * 20_000
    assert table.column("gaps").to_pylist() == gaps
    assert set(table.column("words").to_pylist()) == {"é" * 300}


def test_the_same_table_is_the_same_file_and_one_of_no_rows_is_a_table() -> None:
    columns = {"value": (float, [0.1 + 0.2, math.inf, None]), "chosen": (bool, [True, None, False])}
    assert parquet.write(columns) == parquet.write(columns)
    assert _read({"value": (float, [])}).num_rows == 0


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected columns of one length, got \[1, 2\]"):
        parquet.write({"a": (int, [1]), "b": (int, [1, 2])})


def test_what_the_format_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OverflowError, match="expected integers of 64 bits"):
        parquet.write({"a": (int, [2**63])})
    monkeypatch.setattr(parquet, "MAX_PAGE_BYTES", 100)
    with pytest.raises(OverflowError, match="a column of 206 bytes: expected at most 100"):
        parquet.write({"a": (str, ["x" * 196])})

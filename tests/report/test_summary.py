from __future__ import annotations

import math

import pandas as pd
import pytest

from designkit.errors import UsageError
from designkit.report.summary import (
    DesignTable,
    format_cell,
    markdown_table,
    repeated_totals,
    score_columns,
    summarise,
)


def designs(sequences: str, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"sequence": sequences.split(), **columns})


def test_one_row_per_method_in_the_order_of_the_files() -> None:
    svdd = DesignTable(
        "a", designs("AAAA AAAT AAAA", method="svdd", guide=[1.0, 2.0, 9.0], judge=[0.0, 5.0, 1.0])
    )
    plain = DesignTable("b", designs("ACGT", method="ancestral", guide=[4.0]))
    found = summarise([svdd, plain])
    assert found["method"].tolist() == ["svdd", "ancestral"]
    assert found["designs"].tolist() == [3, 1]
    assert found["distinct"].tolist() == [pytest.approx(2 / 3), 1]
    assert found["guide.median"].tolist() == [2, 4]
    assert found["judge.median"].iloc[0] == 1
    assert math.isnan(found["judge.median"].iloc[1])
    # Of the three pairs of the first file two differ, in one of four places.
    assert found["diversity"].iloc[0] == pytest.approx(2 / 3 / 4)
    assert math.isnan(found["diversity"].iloc[1])


def test_the_tenth_that_is_best_is_shown_for_guides_only() -> None:
    values = [float(value) for value in range(11)]
    frame = designs(" ".join(["A"] * 11), method="m", guide=values, judge=values)
    found = summarise([DesignTable("a", frame, guides=["guide"])])
    assert found["guide.top10"].tolist() == [9]
    assert "judge.top10" not in found


def test_files_of_one_method_are_one_row_whose_cost_is_that_of_both() -> None:
    first = DesignTable("a", designs("AC AG AT", method="m"), calls={"reward_rows": 10.0})
    second = DesignTable("b", designs("CA", method="m"), calls={"reward_rows": 50.0})
    assert summarise([first, second])["reward_rows_per_design"].tolist() == [20]
    unknown = DesignTable("c", designs("CC", method="m"))
    assert math.isnan(summarise([first, unknown])["reward_rows_per_design"].iloc[0])


def test_the_cost_of_a_part_of_a_file_is_not_known() -> None:
    table = DesignTable("a", designs("AC AG", kind=["x", "y"]), calls={"reward_rows": 10.0})
    assert summarise([table], "kind")["reward_rows_per_design"].isna().all()
    assert summarise([table], "file")["reward_rows_per_design"].tolist() == [10]


def test_groups_by_any_column_or_file() -> None:
    table = DesignTable("a", designs("AC AG CC", origin=["x", None, "x"]))
    other = DesignTable("b", designs("AC"))
    assert summarise([table, other], "origin")["origin"].tolist() == ["x", "a", "b"]
    assert summarise([table, other], "file")["file"].tolist() == ["a", "b"]
    assert summarise([table, other])["method"].tolist() == ["a", "b"]
    with pytest.raises(UsageError, match=r"--by orign: no such column \(there are origin, seq"):
        summarise([table, other], "orign")


def test_what_counts_as_a_score() -> None:
    frame = designs(
        "AC",
        gc=0.5,
        gc_std=0.1,
        log_likelihood=-10.0,
        log_likelihood_se=0.2,
        seed=1,
        round=3,
        passed=True,
        reason="",
        count=7,
    )
    assert score_columns(frame) == ["gc", "log_likelihood", "count"]


def test_totals_that_repeat_a_column_are_left_out() -> None:
    frame = designs("AC AG", reward=[1.0, 2.0], gc=[1.0, 2.0])
    assert repeated_totals(frame) == ["reward"]
    frame = frame.assign(gc=[1.0, 3.0]).assign(**{"reward.svdd": 0.0})
    assert repeated_totals(frame) == ["reward.svdd"]
    assert repeated_totals(designs("AC", reward=[1.0])) == []


def test_tokens_of_several_letters() -> None:
    table = DesignTable("a", pd.DataFrame({"sequence": ["Cl C =O", "Br C =O"], "method": "m"}))
    assert summarise([table])["diversity"].iloc[0] == pytest.approx(1 / 3)


def test_text() -> None:
    assert [format_cell(value) for value in (1234.567, 3, "x", float("nan"))] == [
        "1235",
        "3",
        "x",
        "",
    ]
    assert markdown_table(["a", "b"], [["1", "x|y"]]) == (
        "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n"
    )

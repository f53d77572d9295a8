"""Training tables: what is kept, merged, split, and how often each row is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA
from designkit.errors import InputError
from designkit.randomness import Noise, noise_for
from designkit.recipes._training_data import (
    TrainingExamples,
    check_parts,
    load_training_data,
)
from designkit.recipes.pretrain_settings import PretrainSettings


def settings(**fields: object) -> PretrainSettings:
    split = {"by": "column:part", "valid": 0.1}
    return PretrainSettings.model_validate({"split": split, **fields})


def write(path: Path, rows: list[str], header: str) -> str:
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


@pytest.fixture
def two_conditions(tmp_path: Path) -> str:
    return write(
        tmp_path / "t.csv",
        [
            "ACGT,rich,1.0,train,a",
            "ACGT,rich,3.0,train,a",
            "ACGT,poor,10.0,train,a",
            "AAAA,poor,20.0,train,a",
            "CCCC,rich,5.0,valid,b",
            "GGGGG,rich,,test,b",
            "TTTT,rich,7.0,test,b",
        ],
        "sequence,medium,level,part,origin",
    )


def test_one_column_under_two_conditions_is_two_labels(two_conditions: str) -> None:
    labels = {
        "in_rich": {"column": "level", "where": {"medium": ["rich"]}},
        "in_poor": {"column": "level", "where": {"medium": ["poor"]}},
    }
    data = load_training_data(
        [two_conditions], settings(kind="predictor", data={"labels": labels}), DNA
    )
    assert data.frame["sequence"].tolist() == ["ACGT", "AAAA", "CCCC", "TTTT"]
    expected = [[2.0, 10.0], [np.nan, 20.0], [5.0, np.nan], [7.0, np.nan]]
    np.testing.assert_array_equal(data.labels, expected)
    assert data.counts == {
        "read": 7,
        "filtered": 0,
        "without label": 1,
        "merged": 2,
        "outside part": 0,
        "used": 4,
    }
    assert data.counts["read"] == sum(n for name, n in data.counts.items() if name != "read")
    assert [data.rows(part).tolist() for part in ("train", "valid", "test")] == [[0, 1], [2], [3]]


def test_where_filters_rows_and_passes_files_without_the_column(
    tmp_path: Path, two_conditions: str
) -> None:
    other = write(tmp_path / "u.csv", ["TTTTT,train"], "sequence,part")
    wanted = settings(data={"where": {"medium": ["rich"]}})
    data = load_training_data([two_conditions, other], wanted, DNA)
    assert data.frame["sequence"].tolist() == ["ACGT", "CCCC", "GGGGG", "TTTT", "TTTTT"]
    assert data.counts["filtered"] == 2
    assert data.tokens.tolist()[2:4] == [[2, 2, 2, 2, 2], [3, 3, 3, 3, 0]]  # padded by 0
    assert data.lengths.tolist() == [4, 4, 5, 4, 5]
    assert [row.tolist() for row in data.token_list(torch.tensor([3]))] == [[3, 3, 3, 3]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": {"lvel": {}}}, "no column 'lvel'; did you mean 'level'"),
        ({"labels": {"medium": {}}}, "record seq_1: column 'medium' holds 'rich', not a number"),
        ({"labels": {"level": {}}, "where": {"medium": ["none"]}}, "no rows left"),
        ({"labels": {"level": {}}, "report_by": "kind"}, "no column 'kind'"),
    ],
)
def test_refusals(two_conditions: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_training_data([two_conditions], settings(kind="predictor", data=fields), DNA)


@pytest.fixture
def families(tmp_path: Path) -> str:
    """Twelve families of one to four variants."""
    rows = []
    for number in range(12):
        stem = "".join("ACGT"[(number // 4**place) % 4] for place in range(3)) * 3
        rows += [f"{stem}{letter},family_{number}" for letter in "ACGT"[: 1 + number % 4]]
    return write(tmp_path / "f.csv", rows, "sequence,family")


def by_family(**fields: object) -> PretrainSettings:
    return PretrainSettings.model_validate(
        {"split": {"by": "group:family", "valid": 0.25, "test": 0.25, **fields}}
    )


def test_balanced_examples_show_each_group_equally_often(families: str) -> None:
    data = load_training_data([families], by_family(), DNA)
    train = data.frame[data.frame["split"] == "train"]
    groups = train["group"].nunique()
    assert groups < len(train)
    examples = TrainingExamples(data, balanced=True)
    assert examples.count == groups
    shares = data.frame.assign(share=examples.share.numpy()).groupby("group")["share"].sum()
    np.testing.assert_allclose(shares, 1, rtol=1e-6)
    draws = 500
    shown = torch.cat(
        [examples.rows(torch.arange(groups), noise_for(0, groups).at(i)) for i in range(draws)]
    )
    rows = data.frame.iloc[shown.numpy()]
    assert (rows["group"].value_counts() == draws).all()
    for group, members in train.groupby("group"):
        times = rows[rows["group"] == group]["sequence"].value_counts()
        expected = draws / len(members)
        assert set(times.index) == set(members["sequence"])
        assert (abs(times - expected) < 5 * np.sqrt(expected)).all()


def test_unbalanced_examples_are_the_training_rows(families: str) -> None:
    data = load_training_data([families], by_family(), DNA)
    examples = TrainingExamples(data, balanced=False)
    shown = examples.rows(torch.arange(examples.count), noise_for(0, examples.count))
    assert shown.tolist() == data.rows("train").tolist()


def test_parts_share_no_group(families: str) -> None:
    guide = load_training_data([families], by_family(part=[0, 0.7], valid=0, test=0), DNA)
    judge = load_training_data([families], by_family(part=[0.7, 1], valid=0, test=0), DNA)
    seen = [set(data.frame["group"]) for data in (guide, judge)]
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 12


def test_a_bootstrap_draws_training_rows_with_replacement(tmp_path: Path) -> None:
    letters = np.array(list("ACGT"))[np.random.default_rng(0).integers(0, 4, (400, 12))]
    rows = [f"{''.join(row)},{'valid' if i == 0 else 'train'}" for i, row in enumerate(letters)]
    rows += ["ACACACACACAC,test"]
    source = write(tmp_path / "b.csv", rows, "sequence,part")
    data = load_training_data([source], settings(), DNA)
    resamples = []
    for seed in (1, 2):
        examples = TrainingExamples(data, balanced=False, bootstrap=seed)
        chosen = examples.rows(torch.arange(399), Noise(0, torch.arange(399)))
        assert set(chosen.tolist()) <= set(data.rows("train").tolist())
        resamples.append(chosen)
        # A bootstrap of N rows holds about 1 - 1/e of them: 0.632 +- 5 standard deviations.
        assert abs(len(chosen.unique()) / 399 - 0.632) < 5 * 0.0156
    assert not torch.equal(resamples[0], resamples[1])


@pytest.mark.parametrize(("cell", "what"), [("", "is empty"), ("-1", "holds -1")])
def test_a_weight_is_neither_empty_nor_negative(tmp_path: Path, cell: str, what: str) -> None:
    rows = ["ACGT,1,train", f"CCCC,{cell},train", "GGGG,0,valid", "TTTT,2,test"]
    source = write(tmp_path / "w.csv", rows, "sequence,w,part")
    with pytest.raises(InputError, match=f"record seq_2: weight column 'w' {what}"):
        load_training_data([source], settings(data={"weight": "w"}), DNA)


def test_files_of_one_name_keep_a_hash_each(tmp_path: Path) -> None:
    sources = []
    for folder, row in (("a", "ACGT,train"), ("b", "CCCC,valid"), ("b", "GGGG,test")):
        (tmp_path / folder).mkdir(exist_ok=True)
        name = "other.csv" if row.startswith("G") else "data.csv"
        sources.append(write(tmp_path / folder / name, [row], "sequence,part"))
    files = load_training_data(sources, settings(), DNA).files
    assert list(files) == [sources[0], sources[1], "other.csv"]
    assert len(set(files.values())) == 3


def test_parts_of_one_row_are_refused(tmp_path: Path) -> None:
    rows = [f"{a}{b}CC,{n},{part}" for n, (a, b, part) in enumerate(
        [("A", "A", "train"), ("A", "C", "train"), ("A", "G", "valid"), ("A", "T", "valid"),
         ("C", "A", "test"), ("C", "C", "test")])]  # fmt: skip
    header = "sequence,level,part"
    source = write(tmp_path / "p.csv", rows, header)
    check_parts(load_training_data([source], settings(), DNA), [])
    data = load_training_data([write(tmp_path / "q.csv", rows[:-1], header)], settings(), DNA)
    with pytest.raises(InputError, match="leaves 1 test rows"):
        check_parts(data, [])
    labels = {"level": {}, "other": {"column": "level", "where": {"part": ["train", "test"]}}}
    data = load_training_data([source], settings(kind="predictor", data={"labels": labels}), DNA)
    with pytest.raises(InputError, match="leaves 0 valid rows with other"):
        check_parts(data, list(labels))

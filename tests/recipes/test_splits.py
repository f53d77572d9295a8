import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from designkit.alphabet import DNA
from designkit.errors import InputError
from designkit.recipes.splits import (
    SplitSettings,
    describe_split,
    group_keys,
    split_table,
    uniform,
)


def families(count: int, members: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    tokens = np.repeat(generator.integers(4, size=(count, 60)), members, axis=0)
    for row in range(len(tokens)):
        tokens[row, row % members] = (tokens[row, row % members] + 1) % 4
    return DNA.decode(tokens)


SEQUENCES = families(200, 3)
FRAME = pd.DataFrame({"sequence": SEQUENCES, "locus": np.arange(600) // 5})


def test_families_are_never_divided_and_shares_are_near_what_was_asked():
    labels = split_table(FRAME, SEQUENCES, SplitSettings())
    assert all(len(set(labels[i : i + 3])) == 1 for i in range(0, 600, 3))
    for name, share in {"train": 0.8, "valid": 0.1, "test": 0.1}.items():
        assert (labels == name).mean() == pytest.approx(share, abs=0.08)  # 4 sd of 200 families


def test_groups_of_a_column_are_never_divided():
    labels = split_table(FRAME, SEQUENCES, SplitSettings(by="group:locus"))
    assert all(len(set(labels[i : i + 5])) == 1 for i in range(0, 600, 5))
    assert set(labels) == {"train", "valid", "test"}


@pytest.mark.parametrize("by", ["cluster", "group:locus"])
def test_the_order_of_the_rows_does_not_matter(by):
    settings = SplitSettings(by=by, part=(0.2, 0.9))
    order = np.random.default_rng(1).permutation(len(FRAME))
    shuffled = FRAME.iloc[order]
    np.testing.assert_array_equal(
        split_table(FRAME, SEQUENCES, settings)[order],
        split_table(shuffled, shuffled["sequence"].tolist(), settings),
    )


def test_two_parts_share_no_family_and_together_hold_every_row_whatever_their_seeds():
    guide = split_table(FRAME, SEQUENCES, SplitSettings(part=(0, 0.7), seed=1)) != ""
    judge = split_table(FRAME, SEQUENCES, SplitSettings(part=(0.7, 1), seed=2)) != ""
    np.testing.assert_array_equal(guide, ~judge)
    assert guide.mean() == pytest.approx(0.7, abs=0.13)


def test_part_and_split_are_drawn_independently():
    # With one salt for both, a part at the low end would hold no training group.
    labels = split_table(FRAME, SEQUENCES, SplitSettings(part=(0, 0.5)))
    inside = labels[labels != ""]
    assert (inside == "train").mean() == pytest.approx(0.8, abs=0.15)


def test_the_seed_draws_another_split():
    first, again, other = (
        split_table(FRAME, SEQUENCES, SplitSettings(seed=seed)) for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_hash_is_the_same_on_every_machine():
    assert uniform("ACGT", "part") == pytest.approx(0.22172456125011164, abs=1e-15)
    draws = [uniform(str(i), "split") for i in range(4000)]
    assert 0 <= min(draws)
    assert max(draws) < 1
    assert np.mean(draws) == pytest.approx(0.5, abs=0.02)


def test_a_split_column_is_followed_word_by_word():
    words = ["Training", "val", "test"] * 200
    labels = split_table(FRAME.assign(fold=words), SEQUENCES, SplitSettings(by="column:fold"))
    assert labels.tolist() == ["train", "valid", "test"] * 200


def test_a_split_column_without_valid_rows_gives_up_some_training_rows():
    frame = FRAME.assign(fold=["train", "train", "test"] * 200)
    labels = split_table(frame, SEQUENCES, SplitSettings(by="column:fold", valid=0.2))
    assert (labels == "test").sum() == 200
    assert (labels == "valid").sum() / 400 == pytest.approx(0.2, abs=0.08)


@pytest.mark.parametrize(
    ("frame", "by", "message"),
    [
        (FRAME, "group:loci", "no column 'loci'.*sequence, locus"),
        (FRAME.assign(locus=[None, *range(599)]), "group:locus", "no value in 1 of 600 rows"),
        (FRAME.assign(fold="holdout"), "column:fold", "also says 'holdout'"),
        (FRAME.assign(fold="train"), "column:fold", "no test rows"),
        (FRAME.assign(locus=1), "group:locus", "600 rows in 1 groups, the largest of 600 rows"),
        (FRAME.assign(locus=1), "group:locus", "split by row with --split-group id"),
    ],
)
def test_tables_that_cannot_be_split_say_why(frame, by, message):
    with pytest.raises(InputError, match=message):
        split_table(frame, SEQUENCES, SplitSettings(by=by))


def test_a_share_of_zero_leaves_that_split_empty():
    labels = split_table(FRAME, SEQUENCES, SplitSettings(by="group:locus", test=0))
    assert set(labels) == {"train", "valid"}


@pytest.mark.parametrize(
    "settings",
    [{"by": "locus"}, {"by": "group:"}, {"valid": 0.6, "test": 0.4}, {"part": (0.5, 0.5)}],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        SplitSettings(**settings)


def test_sizes_are_counted_in_rows_and_groups():
    keys = np.array(["a", "a", "b", "c"], dtype=object)
    labels = np.array(["train", "train", "test", ""])
    assert describe_split(labels, keys) == {
        "train": {"rows": 2, "groups": 1},
        "valid": {"rows": 0, "groups": 0},
        "test": {"rows": 1, "groups": 1},
        "outside_part": 1,
        "largest_group": 2,
    }


def test_a_cluster_is_named_by_its_first_sequence():
    keys = group_keys(FRAME, SEQUENCES, SplitSettings())
    assert keys[:3].tolist() == [min(SEQUENCES[:3])] * 3

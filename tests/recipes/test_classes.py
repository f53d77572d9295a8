"""Classes of training rows, and what a prior is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from designkit.alphabet import DNA
from designkit.diffusion.masked import Masked
from designkit.errors import InputError
from designkit.models.base import DiffusionModel
from designkit.models.cnn import CNNDenoiser
from designkit.randomness import noise_for
from designkit.recipes._prior import PriorTask, prior_metrics
from designkit.recipes._training_data import TrainingData, load_training_data
from designkit.recipes.pretrain_settings import PretrainSettings
from designkit.recipes.training import build_seeded

HEADER = "sequence,kind,level,medium,part"


def load(path: Path, rows: list[str], **classes: Any) -> TrainingData:
    source = path / "t.csv"
    source.write_text("\n".join([HEADER, *rows]) + "\n")
    fields = {"split": {"by": "column:part", "valid": 0.1}, "classes": classes}
    return load_training_data([str(source)], PretrainSettings.model_validate(fields), DNA)


def words(count: int, letters: str = "ACGT") -> list[str]:
    return ["".join(letters[n // 4**place % 4] for place in range(6)) for n in range(count)]


def numbered(values: list[Any], parts: str, kinds: str = "") -> list[str]:
    """Rows of different sequences with these levels; t, v, e say train, valid, test."""
    named = {"t": "train", "v": "valid", "e": "test"}
    kinds = kinds or "a" * len(values)
    return [
        f"{word},{kind},{value},rich,{named[part]}"
        for word, kind, value, part in zip(words(len(values)), kinds, values, parts, strict=True)
    ]


def test_numbers_are_cut_at_quantiles_of_the_training_rows(tmp_path: Path) -> None:
    values = [*range(1, 10), 1000, 2000, 3000]
    data = load(tmp_path, numbered(values, "t" * 9 + "vee"), column="level", quantiles=[0.25, 0.75])
    assert data.classes is not None
    assert data.classes.names == ("bottom_25%", "25%_to_75%", "top_25%")
    assert data.classes.edges == (3, 7)  # of 1..9; the held-out thousands have no say
    assert data.classes.index.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    counts = data.classes.counts(data.frame["split"].to_numpy(str))
    assert counts["top_25%"] == {"train": 3, "valid": 1, "test": 2}


def test_edges_names_and_empty_cells(tmp_path: Path) -> None:
    values = [1.9, 0, 2.0, 2.1, 4.9, 5.0, 9, "", -1, 3, ""]
    names = ["low", "middle", "high"]
    data = load(
        tmp_path, numbered(values, "ttttttttvee"), column="level", edges=[2, 5], names=names
    )
    assert data.classes is not None
    assert data.classes.names == tuple(names)
    assert data.classes.index.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 0, 1, 3]
    assert data.counts["without class"] == 2


def test_names_are_in_natural_order(tmp_path: Path) -> None:
    rows = numbered([10, 9, 10, 9, "b", "b", "a", "a", 9, 9], "ttttttttve")
    data = load(tmp_path, rows, column="level")
    assert data.classes is not None
    assert data.classes.names == ("9", "10", "a", "b")
    assert data.classes.index.tolist() == [1, 0, 1, 0, 3, 3, 2, 2, 0, 0]


def test_copies_of_a_sequence_have_one_class(tmp_path: Path) -> None:
    """Numbers are averaged before they are cut; names that disagree are no class."""
    rows = [
        "AAAA,x,1,rich,train", "AAAA,y,9,rich,train",
        "CCCC,x,1,rich,train", "CCCC,x,2,rich,train", "CCCC,,90,poor,train",
        "GGGG,y,8,rich,train", "TTTT,y,8,rich,train", "ACAC,x,1,rich,train", "CACA,x,1,rich,train",
        "ACGT,x,1,rich,valid", "TGCA,x,1,rich,test",
    ]  # fmt: skip
    named = load(tmp_path, rows, column="kind").classes
    assert named is not None
    assert named.index.tolist() == [2, 0, 1, 1, 0, 0, 0, 0]
    cut = load(tmp_path, rows, column="level", edges=[4], where={"medium": ["rich"]}).classes
    assert cut is not None
    assert cut.index.tolist() == [1, 0, 1, 1, 0, 0, 0, 0]  # 5, 1.5 without the poor medium's 90
    whole = load(tmp_path, rows, column="level", edges=[4]).classes
    assert whole is not None
    assert whole.index.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_unusable_classes_are_told(tmp_path: Path) -> None:
    levels = numbered([*range(150), 1, 2], "t" * 150 + "ve")
    with pytest.raises(InputError, match=r"holds 150 different values; numbers are cut"):
        load(tmp_path, levels, column="level")
    with pytest.raises(InputError, match=r"'from_1000' of column 'level' has 0 training rows"):
        load(tmp_path, levels, column="level", edges=[1000])
    with pytest.raises(InputError, match=r"column 'kind' holds only 'a'; give two"):
        load(tmp_path, levels, column="kind")
    with pytest.raises(InputError, match=r"no column 'levle'; did you mean 'level'\?"):
        load(tmp_path, levels, column="levle")
    with pytest.raises(InputError, match=r"column 'kind' holds 'a', not a number"):
        load(tmp_path, levels, column="kind", edges=[3])
    with pytest.raises(InputError, match=r"column 'level' holds nothing"):
        load(tmp_path, levels, column="level", where={"medium": ["poor"]})
    with pytest.raises(InputError, match=r"column 'level' holds nothing"):
        load(tmp_path, levels, column="level", quantiles=[0.9], where={"medium": ["poor"]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"edges": [2, 1]}, "must be rising"),
        ({"edges": [1, 1]}, "must be rising"),
        ({"edges": [float("nan")]}, "finite number"),
        ({"quantiles": [0.0, 0.5]}, "between 0 and 1"),
        ({"quantiles": [0.5, 1.0]}, "between 0 and 1"),
        ({"edges": [1], "quantiles": [0.5]}, "not both"),
        ({"names": ["a", "b"]}, "give edges or quantiles too"),
        ({"edges": [1], "names": ["a"]}, "1 cuts make 2 classes, but there are 1"),
        ({"edges": [1], "names": ["a", "a"]}, "1 cuts make 2 classes, but there are 1"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_cuts_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PretrainSettings.model_validate({"classes": {"column": "level", **fields}})


class Recorder(nn.Module):
    """A network that keeps the classes it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))
        self.seen: list[Tensor | None] = []

    def forward(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        self.seen.append(condition)
        return self.bias.expand(*x_t.shape[:2], 4)


def planted(tmp_path: Path, dropout: float) -> PriorTask:
    kinds = ("ab" * 100)[:198] + "xx"
    rows = numbered(["", *range(199)], "t" * 160 + "v" * 20 + "e" * 20, kinds)
    rows[7] = rows[7].replace(",b,", ",,")
    data = load(tmp_path, rows, column="kind", where={"kind": ["a", "b"]})
    return PriorTask(data, Masked(size=4), DNA, False, class_dropout=dropout)


def test_labels_are_dropped_by_the_noise_of_the_example(tmp_path: Path) -> None:
    task, module = planted(tmp_path, 0.3), Recorder()
    assert task.data.classes is not None
    index = task.data.classes.index
    share, rows = [], torch.arange(160)
    for update in range(30):
        noise = noise_for(5, 160).at(update)
        task.loss(module, rows, noise)
        seen = module.seen[-1]
        assert seen is not None
        assert ((seen == index[rows]) | (seen == 2)).all()
        assert seen[7] == 2  # a row without a class
        share.append(float((seen != index[rows]).double().mean()))
        flipped = rows.flip(0)
        task.loss(module, flipped, noise.rows(flipped))
        other = module.seen[-1]
        assert other is not None
        assert torch.equal(other.flip(0), seen)  # not by the place in the batch
    # 4800 draws: a standard error of 0.0066.
    assert np.mean(share) == pytest.approx(0.3, abs=0.025)
    assert np.std(share) > 0.01


def test_without_dropout_every_label_is_told(tmp_path: Path) -> None:
    task, module = planted(tmp_path, 0.0), Recorder()
    assert task.data.classes is not None
    task.loss(module, torch.arange(160), noise_for(5, 160))
    assert module.seen[0] is not None
    assert torch.equal(module.seen[0], task.data.classes.index[:160])


def test_held_out_rows_are_judged_by_their_own_class(tmp_path: Path) -> None:
    task = planted(tmp_path, 0.1)
    net = build_seeded(
        lambda: CNNDenoiser(channels=8, kernel=3, repeats=1).build(5, 4, 2), 0
    ).eval()
    with torch.no_grad():
        net.classes.weight.copy_(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)))
    model = DiffusionModel(net, task.process, DNA, task.length_law, classes=("a", "b"))
    rows = torch.tensor([8, 3, 7, 6, 4])  # a, b, none, a, a
    names = ["a", "b", None, "a", "a"]
    told, _ = task.log_likelihood(net, rows, 8)
    not_told, _ = task.log_likelihood(net, rows, 8, conditional=False)
    for place, (row, name) in enumerate(zip(rows.tolist(), names, strict=True)):
        tokens = task.data.tokens[row : row + 1]
        own = model if name is None else model.conditioned(name)
        assert told[place] == pytest.approx(float(own.log_likelihood(tokens, 8)[0]), rel=1e-6)
        assert not_told[place] == pytest.approx(float(model.log_likelihood(tokens, 8)[0]), rel=1e-6)
    assert abs(told - not_told)[[0, 1, 3, 4]].min() > 1e-3
    figures = prior_metrics(task, net)
    sizes = {name: found["sequences"] for name, found in figures["classes"].items()}
    assert sizes == {"a": 9, "b": 9}
    for found in figures["classes"].values():
        difference = found["unconditional_bits_per_letter"] - found["bits_per_letter"]
        assert found["gain_bits"] == pytest.approx(difference, abs=1e-9)

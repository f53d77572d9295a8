"""The parts of a campaign: its acquisition, its predictor, and rounds that beat chance."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from designkit.algorithms.refinement._acquisition import Acquisition
from designkit.alphabet import DNA
from designkit.errors import InputError
from designkit.models._linear_net import LinearNet
from designkit.models.base import LengthLaw, Predictor
from designkit.models.linear import LinearPredictor
from designkit.recipes._campaign_diversity import varied
from designkit.recipes._campaign_predictor import fit_predictor
from designkit.recipes.campaign_settings import EnsembleSettings
from designkit.recipes.optimizer import OptimizerSettings

OUTPUT = {"name": "activity", "unit": "", "direction": "maximize"}


def landscape(seed: int = 0) -> pd.Series:
    """Values of all 4096 DNA sequences of 6 letters: each letter, and each pair of neighbours."""
    random = np.random.default_rng(seed)
    letters = np.array(list(itertools.product(range(4), repeat=6)))
    alone, pairs = random.normal(size=(6, 4)), random.normal(size=(5, 4, 4))
    value = alone[range(6), letters].sum(1)
    value += pairs[range(5), letters[:, :-1], letters[:, 1:]].sum(1)
    return pd.Series(value, index=["".join("ACGT"[n] for n in row) for row in letters])


def constant(values: list[float]) -> Predictor:
    """An ensemble whose members predict a constant each."""
    members = []
    for value in values:
        network = LinearPredictor(longest=1).build(4, 1, 3)
        assert isinstance(network, LinearNet)
        torch.nn.init.zeros_(network.weights.weight)
        torch.nn.init.constant_(network.weights.bias, value)
        members.append(network)
    return Predictor(
        members,
        DNA,
        [OUTPUT],
        torch.tensor([10.0]),
        torch.tensor([2.0]),
        LengthLaw({3: 1}),
        calibration=[(4.0, 9.0)],
    )


def test_acquisition_is_what_is_computed_by_hand() -> None:
    predictor = constant([0.0, 1.0, 2.0])  # 10, 12 and 14 in label units: deviation 2
    std = (4 * 2**2 + 9) ** 0.5  # 5
    for acquisition, wanted in (
        (Acquisition(predictor, beta=0.5), 12 + 0.5 * std),
        (Acquisition(predictor, sign=-1, beta=0.5), -12 + 0.5 * std),
        (Acquisition(predictor, member=2), 14),
        (Acquisition(predictor, sign=-1, member=0), -10),
    ):
        scored = acquisition.score(["ACG", "AC"])
        assert scored.reward == pytest.approx([wanted] * 2)
        assert scored.columns["mean"] == pytest.approx([12] * 2)
        assert scored.columns["std"] == pytest.approx([std] * 2)


def test_features_of_the_linear_predictor() -> None:
    network = LinearPredictor(longest=3).build(4, 1, 5)
    assert isinstance(network, LinearNet)
    tokens = torch.from_numpy(DNA.encode(["ACACA"]))
    found = network.features(torch.nn.functional.one_hot(tokens, 4).float())[0]
    pairs, triples = found[20:36].view(4, 4), found[36:].view(4, 4, 4)
    assert found[:20].view(5, 4).argmax(1).tolist() == tokens[0].tolist()
    assert pairs[0, 1] == pairs[1, 0] == 0.5
    assert triples[0, 1, 0] == pytest.approx(2 / 3)
    assert triples[1, 0, 1] == pytest.approx(1 / 3)
    assert found.sum() == pytest.approx(5 + 1 + 1)


@pytest.mark.parametrize("kind", ["linear", pytest.param("network", marks=pytest.mark.slow)])
def test_an_ensemble_predicts_and_knows_its_error(kind: str) -> None:
    truth = landscape()
    rows = truth.sample(150, random_state=1)
    settings = EnsembleSettings(
        kind=kind,
        members=5,
        optimizer=OptimizerSettings(
            **{**EnsembleSettings().optimizer.model_dump(), "updates": 150}
        ),
    )
    fitted = fit_predictor(rows.to_dict(), DNA, [6], OUTPUT, settings, seed=5)
    others = truth.drop(rows.index).sample(500, random_state=2)
    scored = Acquisition(fitted.predictor).score(others.index.tolist())
    errors = others.to_numpy() - scored.columns["mean"]
    assert np.corrcoef(others, scored.columns["mean"])[0, 1] > 0.6
    assert 0.6 < fitted.spearman < 1
    # 68 and 95 % of a normal distribution; the figures of unseen rows are what was promised.
    inside = np.abs(errors) / scored.columns["std"]
    assert 0.55 < (inside < 1).mean() < 0.92
    assert (inside < 2).mean() > 0.88
    again = fit_predictor(rows.to_dict(), DNA, [6], OUTPUT, settings, seed=5)
    assert again.error == fitted.error


def test_what_is_additive_is_found_exactly() -> None:
    random = np.random.default_rng(0)
    letters = random.integers(4, size=(300, 6))
    labels = 7 + random.normal(size=(6, 4))[range(6), letters].sum(1)
    sequences = ["".join("ACGT"[n] for n in row) for row in letters]
    rows = dict(zip(sequences[:250], labels[:250], strict=True))
    settings = EnsembleSettings(members=3, kind="linear")
    fitted = fit_predictor(rows, DNA, [6], OUTPUT, settings, seed=0)
    scored = Acquisition(fitted.predictor).score(sequences[250:])
    assert np.abs(scored.columns["mean"] - labels[250:]).max() < 0.05
    assert fitted.error < 1e-3


def test_what_predicts_unseen_rows_better_is_kept() -> None:
    rows = landscape().sample(60, random_state=1).to_dict()
    quick = {**EnsembleSettings().optimizer.model_dump(), "updates": 3, "batch_size": 8}
    settings = EnsembleSettings(members=3, network_rows=50, optimizer=OptimizerSettings(**quick))
    errors = {
        kind: fit_predictor(
            rows, DNA, [6], OUTPUT, settings.model_copy(update={"kind": kind}), seed=0
        ).error
        for kind in ("linear", "network")
    }
    found = fit_predictor(rows, DNA, [6], OUTPUT, settings, seed=0)
    assert errors["linear"] < errors["network"]  # which has learnt nothing in three updates
    assert (found.architecture["name"], found.error) == ("linear", errors["linear"])


def test_few_rows_and_flat_labels() -> None:
    rows = landscape().sample(8, random_state=1)
    settings = EnsembleSettings(members=3)
    fitted = fit_predictor(rows.to_dict(), DNA, [6], OUTPUT, settings, seed=0)
    assert fitted.architecture["name"] == "linear"
    flat = fit_predictor(dict.fromkeys(rows.index, 2.0), DNA, [6], OUTPUT, settings, seed=0)
    scored = Acquisition(flat.predictor).score(["ACGTAC"])
    assert scored.columns["mean"] == pytest.approx([2.0])
    assert np.isfinite(scored.reward).all()
    with pytest.raises(InputError, match="7 sequences are measured; a predictor needs 8"):
        fit_predictor(rows[:7].to_dict(), DNA, [6], OUTPUT, settings, seed=0)


def test_lengths_may_differ() -> None:
    random = np.random.default_rng(0)
    letters = ["".join(random.choice(list("ACGT"), size=random.integers(5, 9))) for _ in range(60)]
    rows = {one: float(one.count("G")) for one in letters}
    fitted = fit_predictor(rows, DNA, list(range(5, 11)), OUTPUT, EnsembleSettings(), seed=0)
    scored = Acquisition(fitted.predictor).score(["GGGGGGGG", "AAAAA", "CCCCCCCCCC"])
    assert scored.reward.argmax() == 0


def test_which_kinds_are_tried() -> None:
    settings = EnsembleSettings(network_rows=50, linear_rows=500)
    assert settings.kinds(49) == ["linear"]
    assert settings.kinds(50) == ["linear", "network"]
    assert settings.kinds(501) == ["network"]
    assert EnsembleSettings(network_rows=100, linear_rows=10).kinds(20) == ["network"]


def test_varied_takes_the_best_and_no_copies() -> None:
    tokens = list(DNA.encode(["AAAAAAAAAA", "AAAAAAAAAC", "CCCCCCCCCC", "GGGGGGGGGG"]))
    assert varied(tokens, np.array([3.0, 2.95, 2.9, 0.0]), 2) == [0, 2]
    assert varied(tokens, np.array([3.0, 2.9, 1.0, 0.0]), 2) == [0, 1]
    assert sorted(varied(tokens, np.array([3.0, 2.9, 2.5, 0.0]), 9)) == [0, 1, 2, 3]
    assert varied(tokens, np.zeros(4), 3) == [0, 2, 3]
    assert varied([], np.zeros(0), 3) == []


def _save_prior(home: Path) -> None:
    """A prior of 6 letters in which some are likelier than others, by chance."""
    from designkit.recipes.training import build_seeded
    from designkit.registry.build import component
    from designkit.registry.store import Registry

    architecture = {"name": "cnn", "channels": 8, "kernel": 3, "dilations": [1], "repeats": 1}
    settings = component("designkit.denoisers", architecture)
    weights = build_seeded(lambda: settings.build(5, 4), 0).state_dict()
    card = {
        "kind": "diffusion",
        "alphabet": DNA.to_dict(),
        "architecture": architecture,
        "process": {"name": "masked", "size": 4},
        "length_law": {"6": 1},
        "parent": None,
        "summary": "random",
    }
    weights = {k: v * 1.5 if v.is_floating_point() else v for k, v in weights.items()}
    Registry(home=home, roots=()).save("six", card, weights, "# six")


@pytest.mark.parametrize("acquisition", ["ucb", "thompson"])
def test_five_rounds_beat_draws_of_the_prior(
    run, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, acquisition: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    _save_prior(home)
    truth = landscape()
    ask = ["refine", "--model", "six", "--state", "lab", "--seed", 1, "--ask", 20]
    ask += ["--set", f"acquisition={acquisition}", "--set", "ensemble.kind=linear"]
    ask += ["--label", "activity", "--until", "rounds=6", "--force", "-o", "b.csv"]
    tell: list[object] = []
    best = []
    for _ in range(5):
        outcome = run(*ask, *tell)
        assert outcome.exit_code == 0, outcome.stderr
        batch = pd.read_csv("b.csv")
        batch.assign(activity=batch["sequence"].map(truth)).to_csv("m.csv", index=False)
        best.append(batch["sequence"].map(truth).max())
        assert batch["sequence"].is_unique  # members that agree do not ask for the same
        tell = ["--tell", "m.csv"]
    assert run("sample", "six", "-n", 400, "--seed", 9, "-o", "d.csv").exit_code == 0
    drawn = pd.read_csv("d.csv")["sequence"].drop_duplicates().map(truth)
    by_chance = [(truth > drawn.sample(100, random_state=n).max()).sum() for n in range(50)]
    # 10 to 200 of the 4096 sequences are better than the best of as many draws.
    assert np.mean(by_chance) > 50
    assert (truth > max(best)).sum() <= 10

"""The predictor of a campaign: an ensemble on bootstrap resamples that knows how wrong it is.

Every member is fitted on a resample of the measured sequences, drawn with replacement. About a
third of the sequences are not in it; these choose the member's penalty, or when its training ends.
For each sequence the members that have not seen it predict it, and the errors of these predictions
say what the spread of members is worth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from designkit.errors import InputError
from designkit.metrics.calibration import calibrate_variance
from designkit.metrics.regression import spearman
from designkit.models.base import LengthLaw, Predictor, one_hot
from designkit.models.linear import LinearPredictor
from designkit.randomness import noise_for
from designkit.recipes._predictor import PredictorTask, predict_padded
from designkit.recipes._training_data import TrainingData, TrainingExamples, encode_padded
from designkit.recipes.training import build_seeded, train

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from designkit.alphabet import Alphabet
    from designkit.models.base import PredictorSettings
    from designkit.recipes.campaign_settings import EnsembleSettings

    Values = NDArray[np.float64]

PENALTIES = 10.0 ** np.arange(-4, 3)
"""Of ridge regression, as shares of the largest eigenvalue."""
FEWEST = 8


@dataclass(frozen=True)
class Fitted:
    """An ensemble, and how well it does.

    Attributes:
        predictor: calibrated.
        architecture: of its members, with its name: what a card says.
        error: mean squared error of sequences by members that have not seen them.
        spearman: rank correlation of the same predictions.
    """

    predictor: Predictor
    architecture: dict[str, Any]
    error: float
    spearman: float

    def stored(self, rows: int, settings: EnsembleSettings) -> tuple[dict[str, Any], Any]:
        """Card and weights, for a registry."""
        predictor = self.predictor
        weights = {
            f"member_{number}.{key}": value
            for number, member in enumerate(predictor.members)
            for key, value in member.state_dict().items()
        }
        calibration = [{"factor": f, "constant": c} for f, c in predictor.calibration]
        card = {
            "kind": "predictor",
            "alphabet": predictor.alphabet.to_dict(),
            "architecture": self.architecture,
            "outputs": list(predictor.outputs),
            "members": len(predictor.members),
            "statistics": {"mean": predictor.mean.tolist(), "scale": predictor.scale.tolist()},
            "length_law": predictor.length_law.to_dict(),
            "reverse_complement": False,
            "flanks": ["", ""],
            "calibration": calibration,
            "parent": None,
            "method": "campaign",
            "summary": f"{self.architecture['name']} ensemble on {rows} measured sequences",
            "training": {"rows": rows, "settings": settings.model_dump(mode="json")},
            "metrics": {"error": self.error, "spearman": self.spearman},
        }
        return card, weights


def fit_predictor(
    measured: Mapping[str, float],
    alphabet: Alphabet,
    lengths: list[int],
    output: Mapping[str, str],
    settings: EnsembleSettings,
    seed: int,
) -> Fitted:
    """Fit what few rows allow, and keep what predicts unseen rows best.

    Args:
        measured: label of each sequence.
        alphabet: of the sequences.
        lengths: of the sequences that may be asked about.
        output: name, unit and direction of the label.
        settings: of the ensemble.
        seed: of resamples and training.

    Raises:
        InputError: fewer than 8 measured sequences.
    """
    if len(measured) < FEWEST:
        raise InputError(f"{len(measured)} sequences are measured; a predictor needs {FEWEST}")
    labels = np.array(list(measured.values()), dtype=np.float64)
    tokens, own = encode_padded(list(measured), alphabet)
    counts = dict.fromkeys(lengths, 1) | dict(LengthLaw.fit(own.tolist()).counts)
    blank = Predictor(
        members=[],
        alphabet=alphabet,
        outputs=[dict(output)],
        mean=torch.tensor([labels.mean()]).float(),
        scale=torch.tensor([labels.std()]).float().clamp(min=1e-6),
        length_law=LengthLaw(dict(sorted(counts.items()))),
    )
    frame = pd.DataFrame({"sequence": list(measured)})
    data = TrainingData(frame, tokens, own, labels[:, None], np.ones(len(labels)), {}, {}, {})
    wanted = settings.kinds(len(labels))
    found = [_ensemble(kind, data, blank, settings, seed) for kind in wanted]
    return min(found, key=lambda fitted: fitted.error)


def _ensemble(
    kind: str, data: TrainingData, blank: Predictor, settings: EnsembleSettings, seed: int
) -> Fitted:
    """The members of a kind, one after the other, and what their errors say."""
    architecture = settings.network if kind == "network" else LinearPredictor()
    fit: Callable[..., nn.Module] = _trained if kind == "network" else _ridge
    members, unseen = [], []
    for number in range(settings.members):
        resample = _resample(data, seed + number)
        members.append(fit(architecture, resample, blank, settings, seed + number))
        unseen.append((resample.frame["split"] == "valid").to_numpy())
    predictor = blank.with_members(members)
    predicted = predict_padded(predictor, data.tokens, data.lengths)[:, :, 0]
    means, spread, truth = _out_of_bag(predicted, np.array(unseen).T, data.labels[:, 0])
    calibration = [calibrate_variance(truth - means, spread)]
    rank = float(spearman(truth, means)) if np.ptp(truth) and np.ptp(means) else float("nan")
    return Fitted(
        replace(predictor, calibration=calibration),
        {"name": settings.architecture_name(kind), **architecture.model_dump(mode="json")},
        float(((truth - means) ** 2).mean()),
        rank if np.isfinite(rank) else 0.0,
    )


def _resample(data: TrainingData, seed: int) -> TrainingData:
    """A bootstrap resample as weights of the rows that are in it; the others are to validate."""
    count = len(data.labels)
    drawn = (noise_for(seed, count).uniform("bootstrap") * count).long().numpy()
    times = np.bincount(drawn, minlength=count)
    if (times == 0).sum() < 2:  # of few rows all may be drawn
        times[:2] = 0
    split = np.where(times > 0, "train", "valid")
    return replace(data, frame=data.frame.assign(split=split), weights=np.maximum(times, 1.0))


def _out_of_bag(
    predicted: Values, unseen: NDArray[np.bool_], truth: Values
) -> tuple[Values, Values, Values]:
    """Mean and deviation of the members that have not seen a row, where there are two of them."""
    several = unseen.sum(1) >= 2
    known = np.where(unseen, predicted, np.nan)[several]
    return np.nanmean(known, 1), np.nanstd(known, 1, ddof=1), truth[several]


def _trained(
    architecture: PredictorSettings,
    data: TrainingData,
    blank: Predictor,
    settings: EnsembleSettings,
    seed: int,
) -> nn.Module:
    """A network trained by the optimizer loop of all models."""
    from accelerate import Accelerator

    canvas, size = blank.length_law.maximum, blank.alphabet.size
    network = build_seeded(lambda: architecture.build(size, 1, canvas), seed)
    task = PredictorTask(data, blank, TrainingExamples(data, balanced=False))
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            network,
            task,
            settings.optimizer,
            run_dir=Path(folder),
            seed=seed,
            accelerator=Accelerator(cpu=True),
        )
    network.load_state_dict(result.weights)
    return network.cpu().eval()


def _ridge(
    architecture: PredictorSettings,
    data: TrainingData,
    blank: Predictor,
    settings: EnsembleSettings,
    seed: int,
) -> nn.Module:
    """Weights in closed form, from the scalar products of rows; unseen rows choose the penalty."""
    from designkit.models._linear_net import LinearNet

    network = architecture.build(blank.alphabet.size, 1, blank.length_law.maximum)
    assert isinstance(network, LinearNet)
    features = _features(network, data, blank)
    labels = (data.labels[:, 0] - blank.mean.item()) / blank.scale.item()
    seen = (data.frame["split"] == "train").to_numpy()
    weights = data.weights[seen] / data.weights[seen].sum()
    centre, offset = weights @ features[seen], float(weights @ labels[seen])
    root = np.sqrt(weights)[:, None]
    rows, wanted = root * (features[seen] - centre), root[:, 0] * (labels[seen] - offset)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    rotated = vectors.T @ wanted
    best, found = np.inf, np.zeros(features.shape[1])
    for penalty in PENALTIES * max(float(values[-1]), 1e-12):
        slope = rows.T @ (vectors @ (rotated / (values.clip(min=0) + penalty)))
        missed = labels[~seen] - offset - (features[~seen] - centre) @ slope
        error = float((missed**2).mean())
        if error < best:
            best, found = error, slope
    with torch.no_grad():
        network.weights.weight.copy_(torch.from_numpy(found)[None])
        network.weights.bias.fill_(offset - float(centre @ found))
    return network.eval()


def _features(network: Any, data: TrainingData, blank: Predictor) -> Values:
    """What the linear predictor sees of all rows, (N, F)."""
    found: dict[int, Tensor] = {}
    for length in data.lengths.unique().tolist():
        rows = (data.lengths == length).nonzero().squeeze(1)
        (strand,) = blank.strands(one_hot(data.tokens[rows, :length], blank.alphabet.size))
        found |= dict(zip(rows.tolist(), network.features(strand).double(), strict=True))
    stacked: Values = torch.stack([found[row] for row in range(len(data.lengths))]).numpy()
    return stacked

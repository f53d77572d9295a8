"""Training and judging a reward predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional

from designkit.metrics.calibration import calibrate_variance, error_figures
from designkit.metrics.regression import bootstrap_interval, pearson, r_squared, spearman
from designkit.metrics.ridge import RidgeKmer
from designkit.models.base import LengthLaw, Predictor, one_hot
from designkit.randomness import Noise
from designkit.recipes._audit import run_classes
from designkit.recipes._negatives import Negatives
from designkit.recipes._training_data import TrainingData, TrainingExamples, encode_padded
from designkit.recipes.training import as_stored, build_seeded, with_stored_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from designkit.alphabet import Alphabet
    from designkit.recipes.pretrain import PretrainRequest
    from designkit.recipes.pretrain_settings import AdversarialSettings, PretrainSettings

AUDITED = 500
"""Sequences of each class that an audit draws."""

METRICS = {"pearson": pearson, "spearman": spearman, "r_squared": r_squared}


def new_predictor(data: TrainingData, settings: PretrainSettings, alphabet: Alphabet) -> Predictor:
    """A predictor without members yet, standardised to the labels of the training rows."""
    rows = data.rows("train")
    labels = torch.tensor(data.labels)[rows]
    known = ~labels.isnan()
    count = known.sum(0)
    mean = labels.nan_to_num().sum(0) / count
    variance = ((labels - mean).nan_to_num() ** 2).sum(0) / count
    return Predictor(
        members=[],
        alphabet=alphabet,
        outputs=[
            {"name": name, "unit": label.unit, "direction": label.direction}
            for name, label in settings.data.labels.items()
        ],
        mean=mean.float(),
        scale=variance.sqrt().clamp(min=1e-6).float(),
        length_law=LengthLaw.fit(data.lengths.tolist()),
        reverse_complement=settings.reverse_complement,
        flanks=settings.flanks,
    )


class PredictorTask:
    """Weighted mean squared error of the standardised labels.

    Args:
        data: all rows.
        predictor: how inputs and labels are laid out; its members are not used.
        examples: what of the training rows is shown.
        mutation_rate: share of letters replaced by random ones in training.
        adversarial: negatives added to each batch, None for none.
    """

    def __init__(
        self,
        data: TrainingData,
        predictor: Predictor,
        examples: TrainingExamples,
        mutation_rate: float = 0.0,
        adversarial: AdversarialSettings | None = None,
    ):
        self.data = data
        self.predictor = predictor
        self.mutation_rate = mutation_rate
        self._examples = examples
        self.examples = examples.count
        self.labels = ((torch.tensor(data.labels) - predictor.mean) / predictor.scale).float()
        weights = torch.tensor(data.weights).float()
        self.weights = weights / weights[data.rows("train")].mean()
        self._negatives = (
            Negatives(data, self.labels, predictor, adversarial) if adversarial else None
        )

    def loss(self, module: nn.Module, rows: Tensor, noise: Noise) -> Tensor:
        """Squared error of examples (B,), averaged over the measured outputs.

        Negatives go through the network with the examples; the one-sided error of the n-th is
        added to that of the n-th example.
        """
        count = len(rows)
        chosen = self._examples.rows(rows, noise)
        tokens, lengths = self.data.tokens[chosen], self.data.lengths[chosen]
        if self._negatives is not None:
            noise = self._negatives.extended(noise)
            added = Noise(noise.seed, noise.item[count:].cpu(), noise.step, 1)
            negatives, cut, ceiling = self._negatives.draw(chosen[: len(added.item)], added)
            tokens, lengths = torch.cat([tokens, negatives]), torch.cat([lengths, cut])
        strands = self._strands(self._mutated(tokens.to(rows.device), noise), lengths)
        x = strands[0]
        if len(strands) == 2:
            x = x.where(noise.uniform("strand")[:, None, None] < 0.5, strands[1])
        predicted = module(x).float()
        labels = self.labels[chosen].to(rows.device)
        known = ~labels.isnan()
        squared: Tensor = (predicted[:count] - labels.nan_to_num()) ** 2 * known
        loss = squared.sum(1) / known.sum(1) * self.weights[chosen].to(rows.device)
        if self._negatives is not None:
            excess = self._negatives.excess(predicted[count:], ceiling)
            loss = loss + functional.pad(excess, (0, count - len(excess)))
        return loss

    def _mutated(self, tokens: Tensor, noise: Noise) -> Tensor:
        if not self.mutation_rate:
            return tokens
        length, size = tokens.shape[1], self.predictor.alphabet.size
        letters = (noise.uniform("mutation-letter", length) * size).long()
        return tokens.where(noise.uniform("mutation", length) >= self.mutation_rate, letters)

    def _strands(self, tokens: Tensor, lengths: Tensor) -> list[Tensor]:
        """What a member sees of padded tokens: one strand or two, each (B, canvas, K)."""
        order, parts = [], []
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            letters = one_hot(tokens[rows, :length], self.predictor.alphabet.size)
            order.append(rows)
            parts.append(self.predictor.strands(letters))
        back = torch.cat(order).argsort()
        return [torch.cat(strand)[back] for strand in zip(*parts, strict=True)]

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Held-out error, weighed as in training, and Spearman correlation of the first output."""
        rows = self.data.rows("valid")
        predicted = self.predict([module], rows)
        labels = self.labels[rows].numpy()
        scaled = (predicted - self.predictor.mean.numpy()) / self.predictor.scale.numpy()
        known = ~np.isnan(labels)
        weights = (self.weights * self._examples.share)[rows].numpy()[:, None] * known
        squared = np.where(known, scaled - np.nan_to_num(labels), 0) ** 2
        first = known[:, 0]
        return {
            "loss": float((squared * weights).sum() / weights.sum()),
            "spearman": float(spearman(labels[first, 0], scaled[first, 0])),
        }

    def predict(self, members: list[nn.Module], rows: Tensor) -> NDArray[np.float64]:
        """Ensemble mean in label units, (N, outputs)."""
        mean: NDArray[np.float64] = self.predict_members(members, rows).mean(axis=1)
        return mean

    def predict_members(self, members: list[nn.Module], rows: Tensor) -> NDArray[np.float64]:
        """What each member predicts, in label units, (N, members, outputs)."""
        predictor = self.predictor.with_members(members)
        return predict_padded(predictor, self.data.tokens[rows], self.data.lengths[rows])


def predict_padded(predictor: Predictor, tokens: Tensor, lengths: Tensor) -> NDArray[np.float64]:
    """What each member predicts of padded tokens, in label units, (N, members, outputs)."""
    predicted = np.zeros((len(tokens), len(predictor.members), len(predictor.outputs)))
    for length in lengths.unique().tolist():
        of_length = lengths == length
        values = predictor.predict(tokens[of_length, :length].to(predictor.device))
        predicted[of_length.numpy()] = values.cpu().double().numpy()
    return predicted


def predictor_metrics(
    task: PredictorTask, members: list[nn.Module], report_by: str | None
) -> dict[str, Any]:
    """Test correlations with 95 % bootstrap intervals, beside ridge regression on k-mer counts.

    Returns:
        For each output: rows, Pearson, Spearman and R2, the same of the baseline, and, where
        ``report_by`` names a column, Spearman for each of its values with at least 20 rows.
    """
    data = task.data
    train, valid, test = (data.rows(part) for part in ("train", "valid", "test"))
    predicted = task.predict(members, test)
    report: dict[str, Any] = {}
    for place, output in enumerate(task.predictor.outputs):
        truth = data.labels[test.numpy(), place]
        known = ~np.isnan(truth)
        figures: dict[str, Any] = {"rows": int(known.sum())}
        for name, metric in METRICS.items():
            low, high = bootstrap_interval(metric, truth[known], predicted[known, place], seed=0)
            value = float(metric(truth[known], predicted[known, place]))
            figures[name] = {"value": value, "low": low, "high": high}
        figures["ridge"] = _ridge(task, place, train, valid, test[torch.from_numpy(known)])
        if report_by:
            figures["spearman_by_" + report_by] = _by_group(
                data.frame[report_by].astype(str).to_numpy()[test.numpy()][known],
                truth[known],
                predicted[known, place],
            )
        report[str(output["name"])] = figures
    return report


def calibrate(
    task: PredictorTask, members: list[nn.Module]
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """The variance of the error from that of an ensemble, fitted on validation rows.

    Returns:
        For each output, factor and constant as in ``Predictor.calibration``; and for each output
        by name how well deviations state the errors of test rows, before and after.
    """
    valid, test = (task.data.rows(part) for part in ("valid", "test"))
    fitted, report = [], {}
    for place, output in enumerate(task.predictor.outputs):
        factor, constant = calibrate_variance(*_errors(task, members, valid, place))
        fitted.append({"factor": factor, "constant": constant})
        errors, spread = _errors(task, members, test, place)
        report[str(output["name"])] = {
            "rows": len(errors),
            "before": error_figures(errors, spread),
            "after": error_figures(errors, np.sqrt(factor * spread**2 + constant)),
        }
    return fitted, report


def _errors(
    task: PredictorTask, members: list[nn.Module], rows: Tensor, place: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors of the ensemble mean and deviations of the members, on rows that were measured."""
    truth = task.data.labels[rows.numpy(), place]
    known = ~np.isnan(truth)
    predicted = task.predict_members(members, rows[torch.from_numpy(known)])[:, :, place]
    return truth[known] - predicted.mean(axis=1), predicted.std(axis=1, ddof=1)


def audit_predictor(task: PredictorTask, members: list[nn.Module]) -> dict[str, Any]:
    """Can it be fooled? Validation and test rows are the natural sequences.

    Returns:
        For each output by name, the figures of the audit.
    """
    predictor = task.predictor.with_members(members)
    held_out = task.data.frame["split"].isin(["valid", "test"])
    natural = task.data.frame.loc[held_out, "sequence"].tolist()
    report = {}
    for place, output in enumerate(predictor.outputs):

        def score(_: str, sequences: list[str], place: int = place) -> NDArray[np.float64]:
            padded = encode_padded(sequences, predictor.alphabet)
            mean: NDArray[np.float64] = predict_padded(predictor, *padded)[:, :, place].mean(1)
            return mean

        result = run_classes(
            score,
            predictor.alphabet,
            natural,
            sign=-1 if output["direction"] == "minimize" else 1,
            num=AUDITED,
            seed=0,
        )
        report[str(output["name"])] = {"natural": "validation and test rows", **result.to_dict()}
    return report


def _ridge(
    task: PredictorTask, place: int, train: Tensor, valid: Tensor, test: Tensor
) -> dict[str, float]:
    data = task.data
    labels = data.labels[:, place]
    train, valid = (
        rows[torch.from_numpy(~np.isnan(labels[rows.numpy()]))] for rows in (train, valid)
    )
    ridge = RidgeKmer(task.predictor.alphabet.size).fit(
        data.token_list(train),
        labels[train.numpy()],
        valid=(data.token_list(valid), labels[valid.numpy()]),
    )
    predicted, truth = ridge.predict(data.token_list(test)), labels[test.numpy()]
    return {name: float(metric(truth, predicted)) for name, metric in METRICS.items()}


def _by_group(
    groups: NDArray[Any], truth: NDArray[np.float64], predicted: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    return {
        str(group): {
            "rows": int((groups == group).sum()),
            "spearman": float(spearman(truth[groups == group], predicted[groups == group])),
        }
        for group in np.unique(groups)
        if (groups == group).sum() >= 20
    }


def train_predictor(
    request: PretrainRequest, data: TrainingData, alphabet: Alphabet, fit: Any
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train the members of a predictor, one after another.

    Args:
        request: the run.
        data: its rows.
        alphabet: of the rows.
        fit: trains a module on a task: (title, module, task, folder, seed) to its result.

    Returns:
        Weights as stored, and the fields of the card that only a predictor has.
    """
    settings = request.settings
    predictor = new_predictor(data, settings, alphabet)
    canvas = predictor.length_law.maximum + sum(len(alphabet.split(f)) for f in settings.flanks)
    weights: dict[str, Tensor] = {}
    networks, best = [], []
    for number in range(settings.members):
        seed = request.seed + number
        examples = TrainingExamples(
            data, settings.balance_groups, seed if settings.bootstrap else None
        )
        task = PredictorTask(
            data, predictor, examples, settings.mutation_rate, settings.adversarial
        )
        network = build_seeded(
            lambda: request.architecture.build(alphabet.size, len(predictor.outputs), canvas), seed
        )
        title = f"{request.name} member {number + 1} of {settings.members}"
        result = fit(title, network, task, request.run_dir / f"member_{number}", seed)
        stored = as_stored(result.weights, settings.stored_precision)
        weights |= {f"member_{number}.{key}": value for key, value in stored.items()}
        networks.append(with_stored_weights(network, stored))
        best.append(result.state.best_update)
    metrics: dict[str, Any] = {"test": predictor_metrics(task, networks, settings.data.report_by)}
    calibration: list[dict[str, float]] = []
    if len(networks) > 1:  # a single network has no spread
        calibration, metrics["calibration"] = calibrate(task, networks)
    metrics["audit"] = audit_predictor(task, networks)
    return weights, {
        "kind": "predictor",
        "outputs": list(predictor.outputs),
        "members": settings.members,
        "statistics": {"mean": predictor.mean.tolist(), "scale": predictor.scale.tolist()},
        "length_law": predictor.length_law.to_dict(),
        "reverse_complement": settings.reverse_complement,
        "flanks": list(settings.flanks),
        "calibration": calibration,
        "metrics": {**metrics, "best_update": best},
    }

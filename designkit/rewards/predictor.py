"""A predictor of the registry as a reward: ``model:NAME`` or ``model:NAME#output``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from designkit.errors import RewardError, did_you_mean
from designkit.rewards._lengths import refuse_other_letters, tokens_by_known_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet
    from designkit.models.base import Predictor


class PredictorSettings(Settings):
    """Which predictor and which of its outputs.

    Args:
        model: reference of the predictor: ``name``, ``name@3`` or a folder.
        target: one of its outputs; the first when not given.
        above: makes the reward log P(label > above), the natural logarithm of the probability that
            the prediction and its calibrated error give: a condition for ``--method classifier``.
        below: the same of log P(label < below).
    """

    model: str
    target: str | None = None
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_sided(self) -> Self:
        if self.above is not None and self.below is not None:
            raise ValueError("above and below are two conditions: give two rewards")
        return self

    @property
    def condition(self) -> tuple[int, float] | None:
        """The side, 1 above and -1 below, and the threshold."""
        if self.above is not None:
            return 1, self.above
        return None if self.below is None else (-1, self.below)


class PredictorReward(Reward):
    """Mean of an ensemble's members in label units; the standard deviation of its error beside it.

    The members' standard deviation s understates the error. Where the model was calibrated on
    held-out rows, the deviation is sqrt(a s^2 + b), that of a measurement around the prediction.
    With a threshold the objective is log Phi((mean - above) / deviation), the log-probability of
    improvement, and mean and deviation are recorded beside it.

    Args:
        load_model: gives the predictor of a reference.
        parameters: see ``PredictorSettings``.

    Raises:
        RewardError: no output of that name, or a threshold for a predictor without a deviation.
    """

    template = RewardInfo(
        name="predictor",
        outputs=(Output("predictor"), Output("std", direction="minimize")),
        differentiable=True,
        cost="expensive",
    )
    settings_type = PredictorSettings
    needs_models = True
    settings: PredictorSettings

    def __init__(self, *, load_model: Callable[[str], Any], **parameters: Any):
        super().__init__(**parameters)
        predictor: Predictor = load_model(self.settings.model)
        if hasattr(predictor, "relaxed_values"):
            raise RewardError(
                f"model {self.settings.model!r} is a value network of half-decoded sequences, not "
                f"a predictor; its use is --set value.name=learned "
                f"--set value.model={self.settings.model}"
            )
        if not hasattr(predictor, "outputs"):
            raise RewardError(
                f"model {self.settings.model!r} is a prior, not a predictor; its likelihood is "
                f"likelihood?model={self.settings.model}"
            )
        self._predictor = predictor
        self._output = _choose(predictor, self.settings)
        card = predictor.outputs[self._output]
        label = predictor.name or self.settings.model
        if self.settings.target is not None:
            label = f"{label}_{card['name']}"
        unit = str(card.get("unit", ""))
        outputs = [Output(label, unit=unit, direction=card.get("direction", "maximize"))]
        self._ensemble = len(predictor.members) > 1
        if self._ensemble:
            outputs.append(Output("std", unit=unit, direction="minimize"))
        condition = self.settings.condition
        if condition is not None:
            if not self._ensemble:
                raise RewardError(
                    f"model {self.settings.model!r} is a single network: no deviation is known, "
                    "so there is no probability of a threshold"
                )
            side = "above" if condition[0] == 1 else "below"
            outputs[0] = replace(outputs[0], name="mean")
            label = f"{label}_{side}_{condition[1]:g}"
            outputs.insert(0, Output(label, unit="log-probability", direction="maximize"))
        self.info = replace(
            self.info,
            name=label,
            version=predictor.sha256 or "1",
            alphabets=(predictor.alphabet.name,),
            outputs=tuple(outputs),
        )

    @property
    def own_alphabet(self) -> Alphabet:
        """The predictor's own, whose name need not be known anywhere else."""
        return self._predictor.alphabet

    def bind(self, alphabet: Alphabet) -> None:
        """Check that the letters are those the model was trained on."""
        refuse_other_letters(self.own_alphabet, alphabet, self.settings.model, "reads")

    def score(self, sequences: list[str]) -> Scores:
        """(N, outputs) of ``info``; lengths the model was not trained on have no score."""
        import numpy as np
        import torch

        predictor = self._predictor
        values = np.full((len(sequences), len(self.info.outputs)), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        blocks = tokens_by_known_length(
            predictor.alphabet, sequences, predictor.length_law, self.settings.model, errors
        )
        for rows, tokens in blocks:
            predicted = predictor.predict(torch.from_numpy(tokens).to(predictor.device))
            values[rows] = self._outputs(predicted).numpy()
        return Scores(values, errors)

    def score_with_slopes(self, sequences: list[str], probs: Tensor) -> tuple[Scores, Tensor]:
        """See ``Reward``: one pass of the networks gives both."""
        import torch

        law = self._predictor.length_law
        if not law.minimum <= probs.shape[1] <= law.maximum:
            return self.score(sequences), torch.zeros_like(probs)
        with torch.enable_grad():
            one_hots = probs.detach().to(self._predictor.device).requires_grad_()
            predicted = self._predictor.predict_relaxed(one_hots)
            (slopes,) = torch.autograd.grad(self._objective(predicted).sum(), one_hots)
        values = self._outputs(predicted.detach()).numpy()
        return Scores(values, [None] * len(sequences)), slopes.to(probs)

    def _outputs(self, predicted: Tensor) -> Tensor:
        """The outputs (N, outputs) float64 of ``info`` of (N, members, outputs) predictions."""
        import torch

        found = [predicted[:, :, self._output].cpu().double().mean(1)]
        if self._ensemble:
            found.append(self._predictor.uncertainty(predicted)[:, self._output])
        if self.settings.condition is not None:
            found.insert(0, self._log_probability(*found))
        return torch.stack(found, dim=1)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mean of the members for letter probabilities, or its condition, (B, L, K) to (B,).

        Raises:
            RewardError: rows of different lengths; predictors read one length at a time.
        """
        if valid is not None and not bool(valid.all()):
            raise RewardError(f"model {self.settings.model!r} reads one length at a time")
        return self._objective(self._predictor.predict_relaxed(probs))

    def _objective(self, predicted: Tensor) -> Tensor:
        """The first output (N,) of (N, members, outputs) predictions, with derivatives."""
        mean = predicted[:, :, self._output].mean(1)
        if self.settings.condition is None:
            return mean
        deviation = self._predictor.uncertainty(predicted)[:, self._output]
        return self._log_probability(mean.cpu().double(), deviation).to(predicted)

    def _log_probability(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Log-probabilities (N,) that labels are on the wanted side of the threshold."""
        import torch

        assert self.settings.condition is not None
        side, threshold = self.settings.condition
        distance = side * (mean - threshold)
        # A deviation of 0 is certainty.
        found: Tensor = torch.special.log_ndtr(distance / deviation.clamp(min=1e-9))
        return found


def _choose(predictor: Predictor, settings: PredictorSettings) -> int:
    names = [str(output["name"]) for output in predictor.outputs]
    if settings.target in names:
        return names.index(settings.target)
    if settings.target is not None:
        raise RewardError(
            f"model {settings.model!r} has no output {settings.target!r}"
            f"{did_you_mean(settings.target, names)} (it has {', '.join(names)})"
        )
    return 0

"""A predictor of the registry as a reward: ``model:NAME`` or ``model:NAME#output``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    """

    model: str
    target: str | None = None


class PredictorReward(Reward):
    """Mean of an ensemble's members in label units; the standard deviation of its error beside it.

    The members' standard deviation s understates the error. Where the model was calibrated on
    held-out rows, the deviation is sqrt(a s^2 + b), that of a measurement around the prediction.

    Args:
        load_model: gives the predictor of a reference.
        parameters: see ``PredictorSettings``.

    Raises:
        RewardError: no output of that name.
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
        """(N, 1) or (N, 2) mean and spread; lengths the model was not trained on have no score."""
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
            members = predicted[:, :, self._output].cpu().double().numpy()  # (n, members)
            values[rows, 0] = members.mean(axis=1)
            if self._ensemble:
                values[rows, 1] = predictor.uncertainty(predicted)[:, self._output].numpy()
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mean of the members for letter probabilities, (B, L, K) to (B,).

        Raises:
            RewardError: rows of different lengths; predictors read one length at a time.
        """
        if valid is not None and not bool(valid.all()):
            raise RewardError(f"model {self.settings.model!r} reads one length at a time")
        return self._predictor.predict_relaxed(probs)[:, :, self._output].mean(1)


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

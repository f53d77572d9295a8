"""How probable a sequence is under a prior: its log-likelihood, estimated by the prior's NELBO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from designkit.errors import RewardError
from designkit.rewards._lengths import refuse_other_letters, tokens_by_known_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet
    from designkit.models.base import DiffusionModel


class LikelihoodSettings(Settings):
    """Which prior, and how exact.

    Args:
        model: reference of the prior: ``name``, ``name@3`` or a folder.
        draws: noisy versions of a sequence that each estimate takes.
        per_letter: divide by the length.
    """

    model: str
    draws: int = Field(default=32, ge=2)
    per_letter: bool = False


class Likelihood(Reward):
    """Lower bound of log p(x | length) in nats, and the standard error of its estimate.

    With masks the bound is sum_k (1/k) E_{|M|=k} sum_{l in M} log p(x_l | x outside M) over mask
    sets M, with uniform noise the integral of Schiff et al. 2024, arXiv 2412.10193. Either is the
    log-likelihood itself for the exact denoiser. The noise is the same for all sequences of a
    length, so a sequence always gets the same value.

    Args:
        load_model: gives the prior of a reference.
        parameters: see ``LikelihoodSettings``.

    Raises:
        RewardError: the model is a predictor.
    """

    template = RewardInfo(
        name="likelihood",
        outputs=(
            Output("likelihood", unit="nats"),
            Output("se", unit="nats", direction="minimize"),
        ),
        cost="expensive",
        citation="Sahoo et al. 2024, arXiv 2406.07524, eq. 10",
    )
    settings_type = LikelihoodSettings
    needs_models = True
    settings: LikelihoodSettings

    def __init__(self, *, load_model: Callable[[str], Any], **parameters: Any):
        super().__init__(**parameters)
        model: DiffusionModel = load_model(self.settings.model)
        if not hasattr(model, "log_likelihood"):
            raise RewardError(
                f"model {self.settings.model!r} is a predictor, which gives no likelihood; what it "
                f"predicts is model:{self.settings.model}"
            )
        self._model = model
        unit = "nats per letter" if self.settings.per_letter else "nats"
        self.info = replace(
            self.info,
            version=model.sha256 or "1",
            alphabets=(model.alphabet.name,),
            outputs=tuple(replace(output, unit=unit) for output in self.info.outputs),
        )

    @property
    def own_alphabet(self) -> Alphabet:
        """The prior's own, whose name need not be known anywhere else."""
        return self._model.alphabet

    def bind(self, alphabet: Alphabet) -> None:
        """Check that the letters are those the prior writes."""
        refuse_other_letters(self.own_alphabet, alphabet, self.settings.model, "writes")

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) estimates and standard errors; lengths that the prior never writes have none."""
        import numpy as np
        import torch

        model = self._model
        values = np.full((len(sequences), 2), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        blocks = tokens_by_known_length(
            model.alphabet, sequences, model.length_law, self.settings.model, errors
        )
        for rows, tokens in blocks:
            length = tokens.shape[1]
            found = model.log_likelihood(
                torch.from_numpy(tokens).to(model.device), self.settings.draws
            )
            estimates = torch.stack(found, dim=1).cpu().numpy()  # (n, 2)
            values[rows] = estimates / length if self.settings.per_letter else estimates
            for row in np.flatnonzero(np.isneginf(values[:, 0])).tolist():
                values[row] = np.nan
                errors[row] = f"{self.settings.model!r} gives it the probability 0"
        return Scores(values, errors)

"""How natural a protein looks to a masked protein language model such as ESM-2."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._masked_model import load_masked_model, weights_digest
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet

_TOKENS_AT_ONCE = 16_384  # letters of one forward pass, all masked copies together


class EsmLikelihoodSettings(Settings):
    """Which model, and where it computes.

    Args:
        model: name on the Hugging Face hub, or a folder with the model and its tokenizer.
        device: ``auto`` takes a GPU if there is one.
    """

    model: str = "facebook/esm2_t6_8M_UR50D"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class EsmLikelihood(Reward):
    """Pseudo-log-likelihood per residue, ``mean over i of log p(x_i | all other residues)``.

    Each residue is masked in turn, so a protein of L residues costs L passes of the network. p is
    normalised over the model's whole vocabulary; ``exp(-value)`` is the pseudo-perplexity.

    Raises:
        RewardError: transformers is not installed, the model cannot be loaded, or there is no GPU.
    """

    template = RewardInfo(
        name="esm_likelihood",
        alphabets=("protein",),
        outputs=(Output("esm_likelihood", unit="nats/residue"),),
        cost="expensive",
        max_batch=64,
        citation=(
            "Salazar et al. 2020, ACL, 2699 (pseudo-log-likelihood); "
            "Lin et al. 2023, Science 379:1123 (ESM-2)"
        ),
    )
    settings_type = EsmLikelihoodSettings
    speed_parameters = frozenset({"device"})
    settings: EsmLikelihoodSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        import torch

        name, device = self.settings.model, self.settings.device
        if device == "cuda" and not torch.cuda.is_available():
            raise RewardError("reward 'esm_likelihood': device=cuda, but there is no GPU here")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        self._tokenizer, model = load_masked_model(name)
        self._model = model.float().eval().to(self._device)
        config = model.config
        # The tokens that begin and end a protein have positions too.
        self._longest = config.max_position_embeddings - config.pad_token_id - 3
        self._alphabet: Alphabet | None = None
        self.info = replace(self.info, version=weights_digest(model))

    def bind(self, alphabet: Alphabet) -> None:
        """Look the letters up in the model's vocabulary.

        Raises:
            RewardError: the model does not know a letter.
        """
        import torch

        super().bind(alphabet)
        tokens = self._tokenizer.convert_tokens_to_ids(list(alphabet.letters))
        for letter, token in zip(alphabet.letters, tokens, strict=True):
            if token in (None, self._tokenizer.unk_token_id):
                raise RewardError(f"model {self.settings.model!r} has no token for {letter!r}")
        self._alphabet, self._tokens = alphabet, torch.tensor(tokens, device=self._device)

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) nats; an empty protein, or one too long for the model, has no score."""
        import numpy as np
        import torch

        if self._alphabet is None:
            raise RewardError("reward 'esm_likelihood': bind an alphabet before scoring")
        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, letters in tokens_by_length(self._alphabet, sequences):
            length = letters.shape[1]
            if not 1 <= length <= self._longest:
                for row in rows:
                    errors[row] = f"length {length}; the model reads 1 to {self._longest} residues"
                continue
            tokens = self._tokens[torch.from_numpy(letters).to(self._device)]
            values[rows, 0] = self._log_probabilities(tokens).double().mean(1).cpu().numpy()
        return Scores(values, errors)

    def _log_probabilities(self, tokens: Tensor) -> Tensor:
        """Of each residue given all others: (n, L) vocabulary tokens to (n, L)."""
        import torch

        count, length = tokens.shape
        begin = tokens.new_full((count, 1), self._tokenizer.cls_token_id)
        end = tokens.new_full((count, 1), self._tokenizer.eos_token_id)
        whole = torch.cat([begin, tokens, end], 1)
        copies = torch.arange(count * length, device=self._device)
        parts = []
        with torch.inference_mode():
            for copy in copies.split(max(1, _TOKENS_AT_ONCE // (length + 2))):
                place = copy % length + 1
                masked = whole[copy // length]
                true = masked.gather(1, place[:, None])
                masked.scatter_(1, place[:, None], self._tokenizer.mask_token_id)
                logits = self._model(masked, attention_mask=torch.ones_like(masked)).logits
                each = logits[torch.arange(len(copy), device=self._device), place]
                parts.append(each.log_softmax(-1).gather(1, true))
        return torch.cat(parts).view(count, length)

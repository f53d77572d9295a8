"""Training and judging a generative prior."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from designkit.metrics.markov import MarkovModel
from designkit.models._counted import CountedSettings
from designkit.models.base import DiffusionModel, LengthLaw
from designkit.randomness import noise_for
from designkit.recipes._training_data import TrainingData, TrainingExamples
from designkit.recipes.training import as_stored, build_seeded, with_stored_weights
from designkit.registry.build import component_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from designkit.alphabet import Alphabet
    from designkit.diffusion.base import DiffusionProcess, LogitsFunction
    from designkit.randomness import Noise
    from designkit.recipes.pretrain import PretrainRequest

VALIDATION_SEQUENCES = 512
VALIDATION_DRAWS = 16
TEST_SEQUENCES = 2000
TEST_DRAWS = 64


class PriorTask:
    """The NELBO of the training rows, in nats per letter.

    Args:
        data: all rows.
        process: the noise process.
        alphabet: of the tokens.
        reverse_complement: show each example on a random strand.
        balance_groups: an example is a group, shown by a random one of its sequences.
        class_dropout: share of examples that are shown without their class.
    """

    def __init__(
        self,
        data: TrainingData,
        process: DiffusionProcess,
        alphabet: Alphabet,
        reverse_complement: bool,
        balance_groups: bool = False,
        class_dropout: float = 0.0,
    ):
        self.data = data
        self.process = process
        self.alphabet = alphabet
        self.class_dropout = class_dropout
        complement = alphabet.complement_tokens if reverse_complement else None
        self.complement = torch.tensor(complement) if complement else None
        self._examples = TrainingExamples(data, balance_groups)
        self.examples = self._examples.count
        self.length_law = LengthLaw.fit(data.lengths[data.rows("train")].tolist())

    def loss(self, module: nn.Module, rows: Tensor, noise: Noise) -> Tensor:
        """NELBO of examples (B,), scaled so that its mean is in nats per letter."""
        chosen = self._examples.rows(rows, noise)
        lengths = self.data.lengths[chosen]
        longest = int(lengths.max())
        x_0 = self.data.tokens[chosen, :longest].to(rows.device)
        place = torch.arange(longest, device=rows.device)
        ends = lengths.to(rows.device)[:, None]
        valid = place < ends
        if self.complement is not None:
            flipped = x_0.gather(1, (ends - 1 - place).clamp(min=0))
            other = self.complement.to(rows.device)[flipped]
            x_0 = x_0.where(noise.uniform("strand")[:, None] < 0.5, other)
        padded = int(lengths.min()) < longest
        denoiser = self._conditioned(module, chosen, noise)
        nelbo = self.process.loss(denoiser, x_0, noise, valid if padded else None)
        return nelbo / lengths.float().mean()

    def _conditioned(self, module: nn.Module, chosen: Tensor, noise: Noise) -> LogitsFunction:
        """The network told the classes of the chosen rows (B,), but for those that are dropped."""
        classes = self.data.classes
        if classes is None:
            return module
        dropped = noise.uniform("class-dropout") < self.class_dropout
        condition = classes.index[chosen].to(dropped.device).where(~dropped, classes.null)

        def denoise(x_t: Tensor, t: Tensor, valid: Tensor | None = None) -> Tensor:
            logits: Tensor = module(x_t, t, condition, valid)
            return logits

        return denoise

    def shown(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The training sequences, those of one length (N, L) at a time, and their shares (N,).

        Both strands are there where both are shown; a share is how much a row counts in the loss.
        """
        rows = self.data.rows("train")
        for length in self.data.lengths[rows].unique().tolist():
            own = rows[self.data.lengths[rows] == length]
            tokens, share = self.data.tokens[own, :length], self._examples.share[own]
            yield tokens, share
            if self.complement is not None:
                yield self.complement[tokens.flip(1)], share

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Held-out NELBO: ``loss`` in nats per letter, and bits per letter."""
        rows = evaluation_rows(self.data, "valid", VALIDATION_SEQUENCES)
        scores, _ = self.log_likelihood(module, rows, VALIDATION_DRAWS)
        nats = -scores.sum() / int(self.data.lengths[rows].sum())
        return {"loss": float(nats), "bits_per_letter": float(nats) / math.log(2)}

    def log_likelihood(
        self, module: nn.Module, rows: Tensor, draws: int, *, conditional: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-likelihood of some rows and its standard error, in nats, both (N,).

        Each row's is that of the model of its class, if it has one, or the null class's.
        """
        classes = self.data.classes
        names = () if classes is None else classes.names
        model = DiffusionModel(module, self.process, self.alphabet, self.length_law, classes=names)
        known = torch.full_like(rows, len(names))
        if classes is not None and conditional:
            known = classes.index[rows]
        alike = torch.stack([self.data.lengths[rows], known], dim=1)
        means, errors = np.zeros(len(rows)), np.zeros(len(rows))
        for one in alike.unique(dim=0):
            of_one = (alike == one).all(1)
            length, condition = one.tolist()
            tokens = self.data.tokens[rows[of_one], :length].to(model.device)
            mean, error = replace(model, condition=condition).log_likelihood(tokens, draws)
            means[of_one.numpy()] = mean.cpu().numpy()
            errors[of_one.numpy()] = error.cpu().numpy()
        return means, errors


def evaluation_rows(data: TrainingData, part: str, most: int) -> Tensor:
    """Rows of a part, in order, or a fixed random choice of them where there are too many.

    Files are often sorted, so the first rows would not stand for the part.
    """
    rows = data.rows(part)
    if len(rows) <= most:
        return rows
    chosen = noise_for(0, len(rows)).uniform("evaluation-rows").argsort()[:most]
    return rows[chosen.sort().values]


def prior_metrics(task: PriorTask, module: nn.Module) -> dict[str, Any]:
    """Held-out figures of a prior beside the Markov baselines, on the test rows.

    Returns:
        Nats and bits per letter with the standard error over groups, perplexity, and the bits per
        letter of the Markov models of order 0 and 3 fitted on the same training rows. They are of
        the null class; ``classes`` holds those of the classes.
    """
    data = task.data
    rows = evaluation_rows(data, "test", TEST_SEQUENCES)
    lengths = data.lengths[rows].numpy()
    _, groups = np.unique(
        data.frame["group"].to_numpy()[rows.numpy()].astype(str), return_inverse=True
    )
    scores, _ = task.log_likelihood(module, rows, TEST_DRAWS, conditional=False)
    bits, error = _bits_per_letter(scores, lengths, groups)
    metrics: dict[str, Any] = {
        "sequences": len(rows),
        "groups": len(np.unique(groups)),
        "draws": TEST_DRAWS,
        "nats_per_letter": bits * math.log(2),
        "bits_per_letter": bits,
        "standard_error_bits": error,
        "perplexity": 2**bits,
    }
    held_out = data.token_list(rows)
    for order in (0, 3):
        markov = MarkovModel(order, task.alphabet.size).fit(
            data.token_list(data.rows("train")), valid=data.token_list(data.rows("valid"))
        )
        baseline = markov.log_likelihood(held_out)
        name = f"markov_{order}"
        metrics[f"{name}_bits_per_letter"], _ = _bits_per_letter(baseline, lengths, groups)
        difference, error = _bits_per_letter(scores - baseline, lengths, groups)
        metrics[f"gain_over_{name}_bits"] = -difference
        metrics[f"gain_over_{name}_standard_error"] = error
    if data.classes is not None:
        own, _ = task.log_likelihood(module, rows, TEST_DRAWS)
        index = data.classes.index[rows].numpy()
        metrics["classes"] = {
            name: _class_metrics(own[here], scores[here], lengths[here], groups[here])
            for place, name in enumerate(data.classes.names)
            if (here := index == place).any()
        }
    return metrics


def _class_metrics(
    own: NDArray[np.float64],
    unconditional: NDArray[np.float64],
    lengths: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> dict[str, Any]:
    """Bits per letter of a class's test sequences when the model is told the class, and not."""
    _, groups = np.unique(groups, return_inverse=True)
    bits, error = _bits_per_letter(own, lengths, groups)
    without, _ = _bits_per_letter(unconditional, lengths, groups)
    difference, error_of_gain = _bits_per_letter(own - unconditional, lengths, groups)
    return {
        "sequences": len(own),
        "groups": len(np.unique(groups)),
        "bits_per_letter": bits,
        "standard_error_bits": error,
        "unconditional_bits_per_letter": without,
        "gain_bits": -difference,
        "gain_standard_error": error_of_gain,
    }


def _bits_per_letter(
    scores: NDArray[np.float64], lengths: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[float, float]:
    """Bits per letter of log-likelihoods in nats, and the standard error over groups.

    Sequences of a group are near-copies of each other; they are not independent measurements.
    """
    bits = -scores.sum() / math.log(2) / lengths.sum()
    residuals = np.bincount(groups, -scores / math.log(2) - bits * lengths)
    count = np.unique(groups).size
    correction = math.sqrt(count / (count - 1)) if count > 1 else math.nan
    error = math.sqrt((residuals**2).sum()) / lengths.sum() * correction
    return float(bits), float(error)


def train_prior(
    request: PretrainRequest, data: TrainingData, alphabet: Alphabet, fit: Any
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train a prior.

    Args:
        request: the run.
        data: its rows.
        alphabet: of the rows.
        fit: trains a module on a task: (title, module, task, folder, seed) to its result.

    Returns:
        Weights as stored, and the fields of the card that only a prior has.
    """
    settings = request.settings
    assert request.process is not None
    process = request.process(alphabet.size)
    classes = data.classes
    task = PriorTask(
        data,
        process,
        alphabet,
        settings.reverse_complement,
        settings.balance_groups,
        settings.classes.dropout if settings.classes else 0.0,
    )
    count = len(classes.names) if classes else 0
    network = build_seeded(
        lambda: request.architecture.build(process.states, process.size, count), request.seed
    )
    best_update = 0
    if isinstance(request.architecture, CountedSettings):
        weights = request.architecture.counted(task.shown(), process.size)
    else:
        result = fit(request.name, network, task, request.run_dir, request.seed)
        weights, best_update = result.weights, result.state.best_update
    weights = as_stored(weights, settings.stored_precision)
    network = with_stored_weights(network, weights)
    own: dict[str, Any] = {}
    if settings.classes is not None and classes is not None:
        own["classes"] = {
            "names": list(classes.names),
            "column": settings.classes.column,
            "edges": list(classes.edges),
            "rows": classes.counts(data.frame["split"].to_numpy(str)),
            "dropout": settings.classes.dropout,
        }
    return weights, own | {
        "kind": "diffusion",
        "process": component_fields(settings.process["name"], process),
        "length_law": task.length_law.to_dict(),
        "metrics": {"test": prior_metrics(task, network), "best_update": best_update},
    }

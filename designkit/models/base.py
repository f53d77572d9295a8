"""Denoisers, the diffusion models built on them, and predictors.

Network modules keep their activations as (B, L, channels). Plugins of this room are settings
classes (``CNNDenoiser``, ``ConvGRUPredictor``): cheap to import, they build the network on request.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from designkit.errors import ModelError, UsageError, did_you_mean
from designkit.models._chunks import FixedRows
from designkit.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from designkit.alphabet import Alphabet
    from designkit.diffusion.base import DiffusionProcess
    from designkit.models._bfloat16 import Converted
    from designkit.randomness import Noise


def _odd(taps: int) -> int:
    if taps % 2 == 0:
        raise ValueError(f"must be odd, not {taps}: a centred window has a middle")
    return taps


Taps = Annotated[int, Field(ge=1), AfterValidator(_odd)]
"""Width of a convolution that keeps the length."""


class DenoiserSettings(Settings):
    """Settings of a denoiser network.

    Attributes:
        time_conditioned: show the network the time; masked diffusion does not need it, uniform
            noise does.
    """

    time_conditioned: bool = False

    @abstractmethod
    def build(self, states: int, size: int, classes: int = 0) -> nn.Module:
        """A network ``forward(x_t, t, condition=None, valid=None)`` to logits (B, L, K).

        ``x_t`` are one-hots or probabilities (B, L, V) and ``t`` times (B,). ``condition`` (B,)
        int64 is the class of each row, ``classes`` standing for the null class, as None does for
        all rows. ``valid`` (B, L) is False at padding. A network may have ``partners`` (L,), for
        each position one that is better drawn anew together with it, which may be itself, and
        ``groups`` (L,), numbers: positions of different groups do not depend on each other.

        Args:
            states: number of noisy tokens V.
            size: number of letters K.
            classes: number of classes; with 0 there is nothing to condition on.
        """


class PredictorSettings(Settings):
    """Settings of a predictor network."""

    @abstractmethod
    def build(self, size: int, outputs: int, length: int) -> nn.Module:
        """A network from one-hots or probabilities (B, L, K) to standardised labels (B, outputs).

        Args:
            size: number of letters K.
            outputs: number of labels.
            length: L, the canvas on which every sequence is laid, flanks included.
        """


@dataclass
class CallCounter:
    """How often a network was asked, and for how many sequences (padding not counted)."""

    calls: int = 0
    rows: int = 0

    def add(self, rows: int) -> None:
        """Count one call for ``rows`` sequences."""
        self.calls += 1
        self.rows += rows


@dataclass(frozen=True)
class LengthLaw:
    """The lengths a model was trained on, and how often each occurred.

    Args:
        counts: length to number of training sequences.
    """

    counts: Mapping[int, int]

    @classmethod
    def fit(cls, lengths: Sequence[int]) -> LengthLaw:
        """The empirical law of the given lengths."""
        from collections import Counter

        return cls(dict(sorted(Counter(int(length) for length in lengths).items())))

    @property
    def minimum(self) -> int:
        """Shortest training length."""
        return min(self.counts)

    @property
    def maximum(self) -> int:
        """Longest training length."""
        return max(self.counts)

    @property
    def fixed(self) -> int | None:
        """The only length, or None."""
        return self.minimum if len(self.counts) == 1 else None

    def sample(self, noise: Noise) -> list[int]:
        """A length for each row of ``noise``."""
        import torch

        from designkit.diffusion.base import categorical

        lengths = list(self.counts)
        weights = torch.tensor([self.counts[n] for n in lengths], dtype=torch.float64)
        uniform = noise.uniform("length").cpu()
        picked = categorical(weights.expand(len(uniform), -1), uniform)
        return [lengths[i] for i in picked.tolist()]

    def to_dict(self) -> dict[str, int]:
        """JSON form: length as text to count."""
        return {str(length): count for length, count in self.counts.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, int]) -> LengthLaw:
        """Read the form of ``to_dict``."""
        return cls({int(length): int(count) for length, count in fields.items()})


def class_index(name: str, classes: Sequence[str], model: str) -> int:
    """Place of a class among those of a model.

    Raises:
        UsageError: the model has no such class.
    """
    if name in classes:
        return list(classes).index(name)
    known = f"its classes are {', '.join(classes)}" if classes else "it has none"
    raise UsageError(f"{model}: no class {name!r}{did_you_mean(name, classes)} ({known})")


def one_hot(x: Tensor, states: int) -> Tensor:
    """(B, L) tokens as (B, L, states) float one-hots; (B, L, states) floats as they are."""
    import torch

    if x.ndim == 3:
        return x
    return (x[..., None] == torch.arange(states, device=x.device)).float()


@dataclass
class DiffusionModel:
    """A generative prior: denoiser, noise process, alphabet and length law.

    Args:
        denoiser: network from (B, L, V) inputs and times (B,) to logits (B, L, K).
        process: the noise process it was trained for.
        alphabet: its letters.
        length_law: of its training sequences.
        name: as in the registry.
        sha256: hash of the stored weights, "" for a model that is not stored.
        precision: ``fp32`` or ``bf16`` (autocast).
        time_conditioned: whether the denoiser's guess depends on the time.
        classes: names of the classes it can be conditioned on.
        condition: the class that is meant where none is given; None for the null class.
    """

    denoiser: nn.Module
    process: DiffusionProcess
    alphabet: Alphabet
    length_law: LengthLaw
    name: str = ""
    sha256: str = ""
    precision: str = "fp32"
    time_conditioned: bool = False
    classes: tuple[str, ...] = ()
    condition: int | None = None
    counter: CallCounter = field(default_factory=CallCounter)
    _rows: FixedRows = field(default_factory=FixedRows, init=False, repr=False, compare=False)
    _converted: Converted | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.parameters()).device

    @property
    def null_class(self) -> int:
        """Index of the class that stands for all sequences: the model without a condition."""
        return len(self.classes)

    def conditioned(self, name: str) -> DiffusionModel:
        """The same model of one class, sharing weights and counter.

        Raises:
            UsageError: the model has no such class.
        """
        return replace(self, condition=class_index(name, self.classes, self.name or "the model"))

    def logits(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Denoiser logits (B, L, K) of tokens (B, L) or relaxed (B, L, V) inputs; counted.

        ``condition`` (B,) int64 is the class of each row; None is the model's own.
        """
        import torch

        self.counter.add(x_t.shape[0])
        device = self.device
        arrays = [x_t, t]
        if self.classes:
            own = self.null_class if self.condition is None else self.condition
            arrays.append(t.new_full(t.shape, own, dtype=torch.int64))
            if condition is not None:
                arrays[-1] = condition

        network = self.denoiser
        if self.precision == "bf16" and not torch.is_grad_enabled():
            from designkit.models._bfloat16 import in_bfloat16

            self._converted = in_bfloat16(network, self._converted)
            network = self._converted.network

        def call(x: Tensor, times: Tensor, *condition: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                logits: Tensor = network(one_hot(x, self.process.states), times, *condition)
            return logits.float()

        def trial(rows: int) -> list[Tensor]:
            generator = torch.Generator().manual_seed(0)
            tokens = torch.randint(self.process.states, (rows, x_t.shape[1]), generator=generator)
            inputs = tokens if x_t.ndim == 2 else one_hot(tokens, self.process.states)
            return [inputs, *(array[:1].expand(rows) for array in arrays[1:])]

        return self._rows(call, arrays, trial)

    def predict_x_0(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Probabilities of the clean letters.

        Args:
            x_t: (B, L) noisy tokens.
            t: (B,) times in [0, 1].
            condition: (B,) int64 classes, ``null_class`` for none; None is the model's own.

        Returns:
            (B, L, K) float32; rows sum to 1, one-hot where x_t leaves no doubt.
        """
        return self.process.x_0_probs(self.logits(x_t, t, condition), x_t, t)

    def log_likelihood(self, tokens: Tensor, draws: int = 32) -> tuple[Tensor, Tensor]:
        """Estimate of log p(tokens | length) in nats and its standard error, both (B,) float64."""
        import torch

        batches = tokens.split(64)
        with torch.inference_mode():
            parts = [self.process.log_likelihood(self.predict_x_0, x, draws) for x in batches]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


@dataclass
class Predictor:
    """A trained reward network, usually an ensemble, in the units of its labels.

    Sequences shorter than the longest training sequence are laid on a canvas of that length; the
    free positions to their right are unknown letters, uniform over the alphabet.

    Args:
        members: networks from (B, L, K) one-hots or probabilities to (B, outputs).
        alphabet: its letters.
        outputs: name, unit and direction of each output.
        mean: (outputs,) added to the standardised network output after scaling.
        scale: (outputs,) factor from standardised to label units.
        length_law: of its training sequences.
        reverse_complement: average the predictions of both strands.
        flanks: constant sequences that stand left and right of every sequence in the construct
            that was measured; the networks see them too.
        calibration: for each output, factor a and constant b with which a s^2 + b is the variance
            of the error, s being the standard deviation over the members; none leaves s as it is.
    """

    members: Sequence[nn.Module]
    alphabet: Alphabet
    outputs: Sequence[Mapping[str, Any]]
    mean: Tensor
    scale: Tensor
    length_law: LengthLaw
    reverse_complement: bool = False
    flanks: tuple[str, str] = ("", "")
    name: str = ""
    sha256: str = ""
    calibration: Sequence[tuple[float, float]] = ()
    counter: CallCounter = field(default_factory=CallCounter)
    _rows: FixedRows = field(default_factory=FixedRows, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.reverse_complement and self.alphabet.complement_tokens is None:
            raise ModelError(f"{self.name}: the {self.alphabet.name} alphabet has no complement")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.members[0].parameters()).device

    def with_members(self, members: Sequence[nn.Module]) -> Predictor:
        """The same predictor made of other networks, on their device."""
        device = next(members[0].parameters()).device
        return replace(
            self,
            members=members,
            mean=self.mean.to(device),
            scale=self.scale.to(device),
            counter=CallCounter(),
        )

    def predict(self, tokens: Tensor) -> Tensor:
        """Predicted labels of (B, L) tokens, (B, members, outputs), in label units."""
        import torch

        with torch.inference_mode():
            return self.predict_relaxed(one_hot(tokens, self.alphabet.size))

    def uncertainty(self, predicted: Tensor) -> Tensor:
        """Standard deviation of the error (B, outputs) of (B, members, outputs) predictions."""
        import torch

        spread: Tensor = predicted.cpu().double().std(1)  # some devices have no float64
        known = self.calibration or [(1.0, 0.0)] * len(self.outputs)
        factor, constant = torch.tensor(known, dtype=torch.float64).T
        variance: Tensor = factor * spread**2 + constant
        return variance.sqrt()

    def predict_relaxed(self, probs: Tensor) -> Tensor:
        """Predicted labels of (B, L, K) letter probabilities, (B, members, outputs); autograd.

        Raises:
            ModelError: sequences longer than any the predictor was trained on.
        """
        import torch

        if probs.shape[1] > self.length_law.maximum:
            raise ModelError(
                f"{self.name or 'predictor'}: reads at most {self.length_law.maximum} letters, "
                f"not {probs.shape[1]}"
            )
        self.counter.add(probs.shape[0])

        def trial(rows: int) -> list[Tensor]:
            generator = torch.Generator().manual_seed(0)
            size, shape = self.alphabet.size, (rows, probs.shape[1])
            return [one_hot(torch.randint(size, shape, generator=generator), size)]

        return self._rows(self._forward, [probs], trial)

    def strands(self, probs: Tensor) -> list[Tensor]:
        """What the networks see of (B, L, K) probabilities: the construct, on one or both strands.

        Returns:
            One or two tensors (B, L + flanks, K).
        """
        import torch

        count, length, size = probs.shape
        left, right = (
            one_hot(torch.as_tensor(self.alphabet.encode([flank])), size).to(probs.device)
            for flank in self.flanks
        )
        construct = torch.cat([left.expand(count, -1, -1), probs, right.expand(count, -1, -1)], 1)
        strands = [construct]
        complement = self.alphabet.complement_tokens
        if self.reverse_complement and complement is not None:
            strands.append(construct.flip(1)[..., list(complement)])
        unknown = probs.new_full((count, self.length_law.maximum - length, size), 1 / size)
        return [torch.cat([strand, unknown], dim=1) for strand in strands]

    def _forward(self, probs: Tensor) -> Tensor:
        import torch

        strands = self.strands(probs)
        predicted = [
            torch.stack([member(strand) for strand in strands]).mean(0) for member in self.members
        ]
        return torch.stack(predicted, dim=1) * self.scale + self.mean

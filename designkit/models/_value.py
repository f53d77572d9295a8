"""Value networks: what half-decoded sequences are worth, learned from roll-outs of a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from designkit.errors import ModelError
from designkit.models._chunks import CPU_ROWS, in_fixed_chunks
from designkit.models.base import CallCounter, one_hot

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from designkit.alphabet import Alphabet
    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import LengthLaw


@dataclass
class ValueModel:
    """A trained value network, in the units of its reward.

    Args:
        network: from what ``layout`` makes to standardised values (B, 1).
        process: whose noisy states it reads.
        alphabet: its letters.
        length_law: of its prior.
        mean: added to the standardised value after scaling.
        scale: from standardised values to units of the reward.
        temperature: of the soft value that was learned; of an ``mse`` network, the one it is meant
            to be used at.
        objective: ``linex``, ``soft_q`` or ``mse``; the last learns E[r | x_t] instead of the soft
            value.
        prior: ``ref`` and ``sha256`` of the prior whose sequences are valued.
        rewards: what is valued, as in the record of a run.
        time_conditioned: whether the network sees the time.
        name: as in the registry.
        sha256: hash of the stored weights, "" for a model that is not stored.
    """

    network: nn.Module
    process: DiffusionProcess
    alphabet: Alphabet
    length_law: LengthLaw
    mean: float
    scale: float
    temperature: float
    objective: str
    prior: Mapping[str, str]
    rewards: Sequence[Mapping[str, Any]] = ()
    time_conditioned: bool = False
    name: str = ""
    sha256: str = ""
    counter: CallCounter = field(default_factory=CallCounter)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def is_soft(self) -> bool:
        """Whether values are those of one temperature, and not means."""
        return self.objective != "mse"

    def layout(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the network reads; see ``layout``."""
        canvas = self.length_law.maximum
        return layout(x_t, t, self.process, canvas, time_conditioned=self.time_conditioned)

    def values(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Values (N,) float64 of noisy tokens (N, L) at times (N,)."""
        import torch

        with torch.inference_mode():
            return self.relaxed_values(one_hot(x_t, self.process.states), t).double()

    def relaxed_values(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Values (N,) float32 of relaxed states (N, L, V) at times (N,); autograd; counted.

        Raises:
            ModelError: sequences longer than any of the prior.
        """
        if x_t.shape[1] > self.length_law.maximum:
            raise ModelError(
                f"{self.name or 'value network'}: reads at most {self.length_law.maximum} letters, "
                f"not {x_t.shape[1]}"
            )
        self.counter.add(x_t.shape[0])
        rows = CPU_ROWS if self.device.type == "cpu" else None
        return in_fixed_chunks(self._forward, [x_t, t], rows)

    def _forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        standardised: Tensor = self.network(self.layout(x_t, t)).squeeze(1)
        return standardised * self.scale + self.mean


def layout(
    x_t: Tensor,
    t: Tensor,
    process: DiffusionProcess,
    canvas: int,
    *,
    time_conditioned: bool,
    valid: Tensor | None = None,
) -> Tensor:
    """What a value network reads of noisy states.

    Args:
        x_t: (N, L) tokens or (N, L, V) one-hots and probabilities.
        t: (N,) times in [0, 1].
        process: of the states.
        canvas: positions that every state is laid on; free ones to the right are uniform over the
            states.
        time_conditioned: add a channel that says how much signal is left.
        valid: (N, L) False at padding, which is as free positions are.

    Returns:
        (N, canvas, V) float32, or (N, canvas, V + 1).
    """
    import torch

    states = process.states
    probs = one_hot(x_t, states)
    if valid is not None:
        probs = probs.where(valid[..., None], 1 / states)
    count, length, _ = probs.shape
    unknown = probs.new_full((count, canvas - length, states), 1 / states)
    read = torch.cat([probs, unknown], dim=1)
    if not time_conditioned:
        return read
    signal = process.alpha(t.double()).to(read.dtype)[:, None, None]
    return torch.cat([read, signal.expand(-1, canvas, 1)], dim=2)


def channels(process: DiffusionProcess, *, time_conditioned: bool) -> int:
    """How many numbers ``layout`` says of a position."""
    return process.states + time_conditioned

"""The contract of an objective: what moves the weights of a prior towards p(x) exp(r(x) / alpha).

An objective gives a loss for each row of an update; the one optimizer loop steps, clips, averages
and saves. What it must remember from one update to the next (designs to train on again, lagged
weights, networks of its own) is a module beside the denoiser, so that checkpoints hold it and a
resumed run goes on exactly.

Designs of an update have one length. They are drawn from the model as it is, from the pretrained
one, or taken from elsewhere; ``_trajectories`` says why that makes little difference.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field

from designkit.algorithms.sampling._guided import PositiveTemperature
from designkit.diffusion.base import Decoding
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from designkit.algorithms.finetuning._rollout import Rollout
    from designkit.algorithms.values.base import Objective
    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

MOST_STEPS = 128


@dataclass(frozen=True)
class Learner:
    """What an objective works with in one update.

    Attributes:
        policy: the model that is trained; nothing is dropped out of its network.
        pretrained: the model it started from, frozen.
        reward: what to raise.
        memory: what ``Finetuner.memory`` made.
        update: number of the update, from 0.
        length: of the designs of this update.
    """

    policy: DiffusionModel
    pretrained: DiffusionModel
    reward: Objective
    memory: nn.Module
    update: int
    length: int


@dataclass(frozen=True)
class Calls:
    """Rows that an update takes, of all processes together.

    Attributes:
        policy: of the trained model, without gradients.
        trained: of the trained model with gradients, whose activations are kept: what memory is
            for.
        pretrained: of the frozen model.
        reward: designs to be scored.
    """

    policy: float
    trained: float
    pretrained: float
    reward: float


class Finetuner(Settings):
    """Base of the objectives; its fields are the settings of every one.

    Attributes:
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; ``auto``
            measures the one at which a tenth of the prior's designs would carry the weight. By
            default a fifth of the reward's standard deviation over designs of the prior.
        steps: denoising steps of roll-outs; by default half the length, at most 128. Designs of few
            steps are those of another law, see ``Sampler``.
        decoding: of roll-outs, as in ``Sampler``.
    """

    temperature: PositiveTemperature | None = None
    steps: int | None = Field(default=None, ge=1)
    decoding: Decoding | None = None

    any_noise: ClassVar[bool] = False
    """Whether the objective works with noise under which letters may change in every step."""

    @property
    def alpha(self) -> float:
        """The temperature, known by now."""
        assert isinstance(self.temperature, float | int)
        return self.temperature

    @property
    def needs_gradient(self) -> bool:
        """Whether the reward must be differentiable."""
        return False

    def suited(self, process: DiffusionProcess) -> Self:
        """The settings with the decoding written out.

        Raises:
            UsageError: a decoding that the process has not, or noise that the objective cannot use.
        """
        if not self.any_noise:
            from designkit.algorithms.finetuning._trajectories import check_reveals

            check_reveals(process)
        decoding = process.decoding_for(self.decoding, ordered=False)
        return self.model_copy(update={"decoding": decoding})

    def steps_for(self, length: int) -> int:
        """Number of steps of roll-outs of L letters; blocks are not more than letters."""
        if self.steps is None:
            return min(max(1, length // 2), MOST_STEPS)
        return min(self.steps, length) if self.decoding == "blocks" else self.steps

    def memory(self, pretrained: DiffusionModel, rows: int, length: int) -> nn.Module:
        """What lasts from one update to the next; its parameters are trained with the denoiser's.

        Args:
            pretrained: the model that is tuned.
            rows: of each update.
            length: of the longest designs.
        """
        from torch import nn

        return nn.Module()

    @abstractmethod
    def losses(self, learner: Learner, noise: Noise) -> Tensor:
        """Loss (B,) of an update, one for each row of ``noise``.

        Args:
            learner: what to work with.
            noise: of B designs that no other update has.
        """

    @abstractmethod
    def calls_per_update(self, rows: int, length: int) -> Calls:
        """What an update of B rows and L letters takes, on average where updates differ."""

    def draw(self, learner: Learner, noise: Noise, pretrained_share: float = 0.0) -> Rollout:
        """A design for each row of ``noise``, with what both models say of each step.

        Args:
            learner: what to work with.
            noise: of B designs.
            pretrained_share: of the designs that the pretrained model draws.
        """
        from designkit.algorithms.finetuning._rollout import mixed_roll_out

        assert self.decoding is not None
        return mixed_roll_out(
            learner.policy,
            learner.pretrained,
            pretrained_share,
            learner.length,
            self.steps_for(learner.length),
            self.decoding,
            noise,
        )

    def describe(self) -> str:
        """The settings in words, for messages."""
        fields = self.model_dump()
        fields["steps"] = self.steps or f"half as many as letters, at most {MOST_STEPS}"
        return ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)

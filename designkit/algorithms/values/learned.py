"""Learned: a network that was trained on roll-outs of the prior says what a state is worth.

SVDD-MC of Li et al. 2024, arXiv 2408.08252, sec. 4.1, and the noisy value network of classifier
guidance (Nisonoff et al. 2024, arXiv 2406.01572). No denoiser rows and no reward rows while
anything is masked: a design takes as many denoiser rows as an unguided one. What has no mask left
is worth its reward, so that the weights of SMC end in the true one and stay unbiased whatever the
network says. A network belongs to one prior, reward and temperature (``designkit pretrain
--prior``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PrivateAttr

from designkit.algorithms.values.base import (
    LoadModel,
    Objective,
    States,
    ValueEstimator,
    Values,
)
from designkit.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models._value import ValueModel
    from designkit.models.base import DiffusionModel


class Learned(ValueEstimator):
    """Value network of the registry.

    Attributes:
        model: its reference.
    """

    model: str
    _network: ValueModel | None = PrivateAttr(default=None)

    @property
    def needs_guess(self) -> bool:
        """No: the network reads the states themselves."""
        return False

    @property
    def reward_rows(self) -> int:
        """None."""
        return 0

    @property
    def final_reward_rows(self) -> int:
        """One."""
        return 1

    @property
    def completes(self) -> bool:
        """No."""
        return False

    @property
    def reads_states(self) -> bool:
        """The network does."""
        return True

    @property
    def network(self) -> ValueModel:
        """The network, known once prepared.

        Raises:
            UsageError: not prepared.
        """
        if self._network is None:
            raise UsageError(f"value network {self.model!r} is not loaded")
        return self._network

    def prepared(self, model: DiffusionModel, load_model: LoadModel) -> Learned:
        """The estimator with its network.

        Raises:
            ModelError: another kind of model, or a network for another prior.
        """
        network: ValueModel = load_model(self.model)
        if not hasattr(network, "relaxed_values"):
            raise ModelError(
                f"{self.model!r} is not a value network ('designkit pretrain --prior')"
            )
        what = f"value network {self.model!r} is for"
        if network.alphabet.letters != model.alphabet.letters:
            raise ModelError(f"{what} {network.alphabet.name}, not for {model.alphabet.name}")
        if network.process.states != model.process.states:
            raise ModelError(f"{what} another noise process than that of {model.name}")
        sha256 = network.prior.get("sha256", "")
        if sha256 != model.sha256:
            raise ModelError(
                f"{what} the prior {network.prior.get('ref')} (sha256 {sha256[:8]}), not for "
                f"{model.name or 'this one'} ({model.sha256[:8] or 'not stored'}): train one for it"
            )
        if model.condition is not None:
            raise ModelError(f"{what} {model.name} without a class, not for one of its classes")
        made = self.model_copy()
        made._network = network
        return made

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        """See ``ValueEstimator.values``; the temperature is the network's own.

        Raises:
            ModelError: sequences longer than any of the prior.
        """
        if states.finished:
            rewards = reward.values(states.tokens)
            return Values(rewards, states.tokens, rewards)
        t = states.time.float().expand(len(states.tokens))
        return Values(self.network.values(states.tokens, t))

    def relaxed_values(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Values of relaxed states, for gradients.

        Args:
            x_t: (N, L, V) one-hots or probabilities of noisy tokens, the mask among them.
            t: (N,) times in [0, 1].

        Returns:
            (N,) float32, differentiable in x_t.
        """
        return self.network.relaxed_values(x_t, t)

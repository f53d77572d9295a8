"""What a value network is trained by: LINEX, squared error, and values of its own children."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from designkit.diffusion.base import categorical

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


def linex(target: Tensor, value: Tensor, temperature: float, exponent: float) -> Tensor:
    """temperature^2 (exp(u) - u - 1), u = (target - value) / temperature; half u^2 near u = 0.

    Its mean over targets r is smallest at temperature * log E[exp(r / temperature)], the soft
    value, whatever the law of r: the exponential-family form of regressing exp(value / temperature)
    on exp(r / temperature). Beyond ``exponent`` exp goes on as its tangent, so that no target
    counts more than exp(exponent); the smallest mean is then where E[min(exp(u), exp(exponent))]
    is 1, below the soft value by what the capped targets would add.

    Args:
        target: (B,).
        value: (B,).
        temperature: above 0, in their units.
        exponent: largest u that is not capped.
    """
    error = (target - value) / temperature
    capped = error.clamp(max=exponent)
    return temperature**2 * (capped.exp() * (1 + error - capped) - error - 1)


class LaggedNetwork(nn.Module):
    """A network, and a copy of it as it was some updates ago, which the checkpoint holds too.

    Args:
        network: is trained.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.lagged = copy.deepcopy(network).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """The network itself."""
        out: Tensor = self.network(x)
        return out

    def renew(self) -> None:
        """Make the copy what the network is now."""
        self.lagged.load_state_dict(self.network.state_dict())

    def before(self, x: Tensor) -> Tensor:
        """What the copy says; no gradients, and nothing dropped."""
        self.lagged.eval()
        with torch.no_grad():
            out: Tensor = self.lagged(x).float()
        return out


def one_step_children(
    prior: DiffusionModel, x_t: Tensor, t: Tensor, valid: Tensor, noise: Noise, children: int
) -> tuple[Tensor, Tensor]:
    """Children in which one masked position, drawn at random, is revealed.

    exp(v(x_t) / alpha) is the mean of exp(v(x_s) / alpha) over them (soft Bellman equation). Where
    the alphabet has no more letters than children are wanted, every letter is a child and counts by
    its probability; else letters are drawn.

    Args:
        prior: of masked diffusion.
        x_t: (B, L) tokens with a mask in each row.
        t: (B,) times.
        valid: (B, L) False at padding.
        noise: of the B rows.
        children: wanted of each state.

    Returns:
        Tokens (B, M, L) and logarithms of the weights (B, M), which sum to 1 in each row.
    """
    length, size = x_t.shape[1], prior.process.size
    masked = (x_t >= size) & valid
    place = noise.uniform("child-position", length).where(masked, -1.0).argmax(1)
    with torch.no_grad():
        guess = prior.predict_x_0(x_t, t.float())
    probs = guess.gather(1, place[:, None, None].expand(-1, 1, size)).squeeze(1)  # (B, K)
    if size <= children:
        letters = torch.arange(size, device=x_t.device).expand(len(x_t), -1)
        weights = probs.float()
    else:
        drawn = probs[:, None].expand(-1, children, -1)
        letters = categorical(drawn, noise.uniform("child-letter", candidates=children))
        weights = torch.full(letters.shape, 1 / children, device=x_t.device)
    tokens = x_t[:, None].repeat(1, letters.shape[1], 1)
    index = place[:, None, None].expand(-1, letters.shape[1], 1)
    return tokens.scatter(2, index, letters[..., None]), weights.log()

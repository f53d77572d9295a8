"""The network of ``markov``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEAST = 1e-30
"""Stands for the probability of a letter that cannot be, whose logarithm there is not."""


class MarkovNet(nn.Module):
    """The guess of each masked letter from the nearest letters known on either side.

    Args:
        size: number of letters K.

    Attributes:
        start: (K,) probabilities of the first letter; uniform until they are loaded.
        transitions: (K, K) probabilities of the next letter (column) after a letter (row).
    """

    def __init__(self, size: int):
        super().__init__()
        even = torch.full((size, size), 1 / size)
        self.start = nn.Parameter(even[0].clone(), requires_grad=False)
        self.transitions = nn.Parameter(even, requires_grad=False)
        self._powers = self._starts = torch.empty(0)
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def forward(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Logarithms (B, L, K) of the probabilities; of known letters they say nothing.

        Args:
            x_t: (B, L, K + 1) one-hots, the last one the mask; or probabilities of them, which
                are taken for what was seen of each position: a letter with the chance that it is
                shown, whatever it is with that of the mask.
            t: (B,) does not matter.
            condition: does not matter.
            valid: (B, L) False at padding, which is behind the end.
        """
        if valid is not None:
            hidden = nn.functional.one_hot(torch.tensor(self.start.numel()), x_t.shape[2])
            x_t = x_t.where(valid[..., None].bool(), hidden.to(x_t))
        if x_t.requires_grad or int(x_t.count_nonzero()) != x_t[..., 0].numel():
            return self._relaxed(x_t)
        masked, tokens = x_t[..., -1] > 0, x_t[..., :-1].argmax(-1)
        length = tokens.shape[1]
        self._prepare(length)
        place = torch.arange(length, device=x_t.device)
        before = place.where(~masked, -1).cummax(1).values
        after = place.where(~masked, length).flip(1).cummin(1).values.flip(1)
        row, here = masked.nonzero(as_tuple=True)
        left, right = before[row, here], after[row, here]
        known = self._powers[here - left.clamp(min=0), tokens[row, left.clamp(min=0)]]
        forward = known.where((left >= 0)[:, None], self._starts[here])
        last = right.clamp(max=length - 1)
        known = self._powers[last - here, :, tokens[row, last]]
        backward = known.where((right < length)[:, None], 1.0)
        logits = x_t.new_zeros(*tokens.shape, len(self.start))
        logits[row, here] = _log_share(forward * backward)
        return logits

    def _relaxed(self, x_t: Tensor) -> Tensor:
        """The same by the forward-backward recursion, which has derivatives in what is seen."""
        seen = x_t[..., :-1] + x_t[..., -1:]
        start, table = (w / w.sum(-1, keepdim=True) for w in (self.start, self.transitions))
        ahead, behind = [start.expand(len(x_t), -1)], [torch.ones_like(seen[:, 0])]
        for place in range(1, x_t.shape[1]):
            ahead.append(_share((ahead[-1] * seen[:, place - 1]) @ table))
            behind.append(_share((behind[-1] * seen[:, -place]) @ table.T))
        both = torch.stack(ahead, 1) * torch.stack(behind[::-1], 1)
        return _log_share(both)

    def _prepare(self, length: int) -> None:
        """Make the laws over distances up to a length."""
        if len(self._powers) >= length and self._powers.device == self.start.device:
            return
        start, table = (
            w.double() / w.double().sum(-1, keepdim=True) for w in (self.start, self.transitions)
        )
        powers, starts = [torch.eye(len(start)).to(table)], [start]
        for _ in range(1, length):
            powers.append(powers[-1] @ table)
            starts.append(starts[-1] @ table)
        self._powers, self._starts = torch.stack(powers).float(), torch.stack(starts).float()


def _forget(network: MarkovNet, _: Any) -> None:
    """New weights, new laws."""
    network._powers = network._starts = torch.empty(0)


def _share(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True).clamp(min=LEAST)


def _log_share(weights: Tensor) -> Tensor:
    """Logarithms of shares; where all weights are 0, all letters are alike."""
    return _share(weights).clamp(min=LEAST).log()

"""Networks whose weights are bfloat16 already, for inference under autocast."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Converted(nn.Module):
    """A copy of a network with bfloat16 parameters; buffers stay as they are.

    Under autocast it computes what the network itself does, without casting every weight in every
    call.

    Args:
        network: what to copy, as it is now.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.state = _state(network)
        self.network = copy.deepcopy(network).requires_grad_(False)
        for parameter in self.network.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(torch.bfloat16)


def _state(network: nn.Module) -> list[tuple[int, int]]:
    """Another one whenever a parameter was written to or replaced."""
    return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in network.parameters()]


def in_bfloat16(network: nn.Module, last: Converted | None) -> Converted:
    """The converted network: ``last`` as long as the parameters are those it was made from."""
    return last if last is not None and last.state == _state(network) else Converted(network)

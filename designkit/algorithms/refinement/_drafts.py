"""Children before they are decoded: which letters they keep, and which are to be found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING

from designkit.algorithms.refinement._archive import NOTHING

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement.base import Brief
    from designkit.algorithms.sampling.base import Sampler
    from designkit.algorithms.values.base import Objective
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


@dataclass(frozen=True)
class Drafts:
    """C children to be decoded; all tensors are on the CPU.

    Attributes:
        slots: (C,) int64, what their noise is keyed by.
        lineages: (C,) int64.
        parents: (C,) int64 numbers of designs, -1 for none.
        partners: (C,) the same, of second parents.
        tokens: (C, W) int64, -1 beyond the end.
        lengths: (C,) int64.
        chosen: (C, W) bool, the positions to be found.
    """

    slots: Tensor
    lineages: Tensor
    parents: Tensor
    partners: Tensor
    tokens: Tensor
    lengths: Tensor
    chosen: Tensor

    def __len__(self) -> int:
        return len(self.slots)

    def joined(self, others: Drafts) -> Drafts:
        """These drafts and then others."""
        import torch

        width = max(self.tokens.shape[1], others.tokens.shape[1])
        fields = {}
        for one in fields_of(self):
            parts = [getattr(drafts, one.name) for drafts in (self, others)]
            if parts[0].ndim == 2:
                filler = False if parts[0].dtype == torch.bool else NOTHING
                pad = torch.nn.functional.pad
                parts = [pad(part, (0, width - part.shape[1]), value=filler) for part in parts]
            fields[one.name] = torch.cat(parts)
        return Drafts(**fields)


def of_slots(noise: Noise, slots: Tensor) -> Noise:
    """The noise of some children."""
    return replace(noise, item=slots)


def blank(model: DiffusionModel, slots: Tensor, lineages: Tensor, noise: Noise) -> Drafts:
    """Drafts that keep no letter, of lengths from the model's length law.

    Args:
        model: the prior.
        slots: (C,).
        lineages: (C,).
        noise: of the round.
    """
    import torch

    found = model.length_law.sample(of_slots(noise, slots))
    lengths = torch.tensor(found, dtype=torch.int64)
    inside = torch.arange(max(found, default=0)) < lengths[:, None]
    nothing = torch.full_like(slots, NOTHING)
    tokens = torch.where(inside, 0, NOTHING)
    return Drafts(slots, lineages, nothing, nothing, tokens, lengths, inside)


@dataclass(frozen=True)
class Decoder:
    """Finds the letters of children.

    Attributes:
        model: the prior.
        sampler: what decodes.
        reward: for samplers that are guided.
        brief: what is asked for.
    """

    model: DiffusionModel
    sampler: Sampler
    reward: Objective
    brief: Brief

    def written(self, drafts: Drafts, noise: Noise) -> list[str]:
        """The sequences of C drafts, in order; those of one length are decoded together.

        Args:
            drafts: C of them.
            noise: of the round.
        """
        sequences = [""] * len(drafts)
        device, alphabet = self.model.device, self.model.alphabet
        for length in drafts.lengths.unique().tolist():
            rows = (drafts.lengths == length).nonzero().squeeze(1)
            chosen = drafts.chosen[rows, :length]
            given = drafts.tokens[rows, :length].where(~chosen, -1)
            own = of_slots(noise, drafts.slots[rows].to(device))
            tokens = self.children(given, drafts.lineages[rows], own)
            for row, sequence in zip(rows.tolist(), alphabet.decode(tokens), strict=True):
                sequences[row] = sequence
        return sequences

    def children(self, given: Tensor, lineages: Tensor, noise: Noise) -> Tensor:
        """Clean sequences (B, L) of lineages (B,); see ``tokens``."""
        return self.tokens(given, noise)

    def tokens(self, given: Tensor, noise: Noise, most: int | None = None) -> Tensor:
        """Clean sequences (B, L) on the CPU.

        Args:
            given: (B, L) letters, -1 where one is to be found.
            noise: of the B rows, on the model's device.
            most: letters to be found in a row; all that may change when not given.
        """
        from designkit.algorithms.sampling.base import Request

        brief, device = self.brief, self.model.device
        length, tokens = given.shape[1], given.clone()
        if most is None:
            positions = brief.changeable(length)
            most = length if positions is None else int(positions.sum())
        method = self.sampler.suited(self.model.process)
        if method.steps is not None and method.decoding == "blocks":
            method = method.model_copy(update={"steps": min(method.steps, max(1, most))})
        # Children with fewer letters to find than there are steps begin late and end with the
        # others, so that a child is the same whatever else is decoded.
        unfinished = (given < 0).any(1).nonzero().squeeze(1)
        for part in unfinished.split(brief.batch_size) if len(unfinished) else ():
            request = Request(
                length,
                brief.should_stop,
                brief.load_model,
                given=given[part].to(device),
                guard=brief.guard(length),
                most_free=most,
            )
            own = noise.rows(part.to(device))
            tokens[part] = method.sample(self.model, self.reward, request, own).tokens.cpu()
        return tokens

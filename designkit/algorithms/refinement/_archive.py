"""The designs of a refinement: their rewards, their lineages, and what each was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from designkit.algorithms.refinement._ledger import Ledger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet

    Numbers = Sequence[int] | NDArray[np.int64]

NOTHING = -1
"""Token of places beyond the end of a sequence; number of a parent that there is not."""


@dataclass(frozen=True)
class Population:
    """The designs that go on from a round, lineage by lineage; all tensors are on the CPU.

    Attributes:
        round: that left them; 0 for the first sequences.
        numbers: (N,) int64, theirs in the archive. One may be there several times.
        lineages: (N,) int64, the input that each descends from.
        tokens: (N, W) int64, -1 beyond the end of a sequence.
        lengths: (N,) int64 letters of each.
        rewards: (N,) float64; -inf for "no score".
        edits: (N,) int64 changes from the first sequences of their lineages; -1 for none.
        memory: what else a method has to know to go on, by name.
        figures: what else is to be told of the round, by name.
    """

    round: int
    numbers: Tensor
    lineages: Tensor
    tokens: Tensor
    lengths: Tensor
    rewards: Tensor
    edits: Tensor
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, index: Tensor) -> Population:
        """Some of the members."""
        return replace(
            self,
            numbers=self.numbers[index],
            lineages=self.lineages[index],
            tokens=self.tokens[index],
            lengths=self.lengths[index],
            rewards=self.rewards[index],
            edits=self.edits[index],
        )


def padded(sequences: Sequence[str], alphabet: Alphabet) -> tuple[Tensor, Tensor]:
    """Tokens (N, W) of sequences, -1 beyond their ends, and their lengths (N,)."""
    import torch

    found = [len(alphabet.split(sequence)) for sequence in sequences]
    lengths = torch.tensor(found, dtype=torch.int64)
    tokens = torch.full((len(found), max(found, default=0)), NOTHING)
    for length in sorted(set(found)):
        rows = (lengths == length).nonzero().squeeze(1)
        own = alphabet.encode([sequences[row] for row in rows.tolist()])
        tokens[rows, :length] = torch.from_numpy(own)
    return tokens, lengths


@dataclass(frozen=True)
class Design:
    """What the archive knows of a design besides its scores.

    Attributes:
        place: of its sequence in the ledger.
        lineage: the input that it descends from.
        parent: number of the design that it was made from, -1 for none.
        partner: number of the second one, -1 for none.
        round: that made it.
        edits: changes from the first sequence of its lineage; -1 where there is no such.
    """

    place: int
    lineage: int
    parent: int
    partner: int
    round: int
    edits: int


class Archive:
    """All designs of a run, numbered as they came; no lineage holds a sequence twice.

    Args:
        ledger: of what was scored.
        alphabet: of the designs.
        roots: the first sequence of each lineage; None for one that begins with several.
        aligned: whether all designs of a lineage have one length, and edits are substitutions.

    Attributes:
        ledger: the same.
        roots: the same.
        designs: by number.
    """

    def __init__(
        self,
        ledger: Ledger,
        alphabet: Alphabet,
        roots: Sequence[str | None],
        *,
        aligned: bool = True,
    ):
        self.ledger, self.roots = ledger, tuple(roots)
        self._alphabet, self._aligned = alphabet, aligned
        self.designs: list[Design] = []
        self._numbers: list[dict[str, int]] = [{} for _ in roots]
        self._leaders: list[int | None] = [None for _ in roots]

    def __len__(self) -> int:
        return len(self.designs)

    @property
    def size(self) -> int:
        """Letters of the alphabet."""
        return self._alphabet.size

    def root_tokens(self, members: Population) -> Tensor:
        """First sequences (N, W) of the lineages of members.

        Rows of members whose lineage has none, or one of another length, are -1.
        """
        import torch

        if not any(self.roots):
            return torch.full_like(members.tokens, NOTHING)
        roots = [self.roots[lineage] or "" for lineage in members.lineages.tolist()]
        tokens, lengths = padded(roots, self._alphabet)
        width = members.tokens.shape[1]
        tokens = torch.nn.functional.pad(tokens, (0, width), value=NOTHING)[:, :width]
        return tokens.where((lengths == members.lengths)[:, None], NOTHING)

    @property
    def lineages(self) -> int:
        """Their number."""
        return len(self.roots)

    def number_of(self, lineage: int, sequence: str) -> int | None:
        """The design of a lineage that has this sequence; None where there is none yet."""
        return self._numbers[lineage].get(sequence)

    def sequence(self, number: int) -> str:
        """The sequence of a design."""
        return self.ledger.sequences[self.designs[number].place]

    def reward(self, number: int) -> float:
        """The reward of a design, -inf for "no score"."""
        return self.ledger.rewards[self.designs[number].place]

    def leader(self, lineage: int) -> int | None:
        """The best design of a lineage, the first of equals; None where there is no design."""
        return self._leaders[lineage]

    def objectives(self, numbers: Sequence[int]) -> NDArray[np.float64]:
        """The objectives (N, P) of designs; their rewards where there is no objective."""
        import numpy as np

        places = [self.designs[number].place for number in numbers]
        found = [self.ledger.objectives[place] or [self.ledger.rewards[place]] for place in places]
        return np.array(found, dtype=np.float64).reshape(len(places), -1 if places else 1)

    def tokens(self, numbers: Sequence[int]) -> list[NDArray[np.int64]]:
        """The tokens of designs, each as long as it is."""
        tokens, lengths = padded([self.sequence(number) for number in numbers], self._alphabet)
        return [row[:end].numpy() for row, end in zip(tokens, lengths.tolist(), strict=True)]

    def is_within(self, number: int, reward: float) -> bool:
        """Whether a design keeps the bounds of rewards and has at least this reward."""
        return self.ledger.feasible[self.designs[number].place] and self.reward(number) >= reward

    def edits(self, sequences: Sequence[str], lineages: Numbers) -> NDArray[np.int64]:
        """Changes (N,) of sequences from the first ones of their lineages; -1 for none."""
        roots = [self.roots[lineage] for lineage in lineages]
        return self.distances(sequences, roots)

    def distances(
        self, sequences: Sequence[str], others: Sequence[str | None]
    ) -> NDArray[np.int64]:
        """Changes (N,) between sequences and one other each; -1 where there is no other."""
        import numpy as np

        from designkit.sequence_stats import edit_distances

        found = np.full(len(sequences), NOTHING)
        groups: dict[tuple[int, int], list[int]] = {}
        split = self._alphabet.split
        for row, (sequence, other) in enumerate(zip(sequences, others, strict=True)):
            if other is not None:
                groups.setdefault((len(split(sequence)), len(split(other))), []).append(row)
        for (left, right), rows in groups.items():
            first = self._alphabet.encode([sequences[row] for row in rows])
            second = self._alphabet.encode([str(others[row]) for row in rows])
            if self._aligned and left == right:
                found[rows] = (first != second).sum(1)
            else:
                found[rows] = edit_distances(first, second)
        return found

    def add(
        self,
        sequences: Sequence[str],
        lineages: Numbers,
        round: int,
        parents: Numbers | None = None,
        partners: Numbers | None = None,
    ) -> NDArray[np.int64]:
        """Score sequences and number those that are new to their lineages.

        Args:
            sequences: N.
            lineages: (N,) theirs.
            round: that made them.
            parents: (N,) numbers, -1 for none; None for none at all.
            partners: the same, of second parents.

        Returns:
            (N,) numbers, those of known designs too.

        Raises:
            Spent: more than the ledger may score.
        """
        import numpy as np

        places = self.ledger.look_up(sequences).tolist()
        edits = self.edits(sequences, lineages).tolist()
        numbers = []
        for row, sequence in enumerate(sequences):
            lineage = int(lineages[row])
            known = self._numbers[lineage].setdefault(sequence, len(self.designs))
            numbers.append(known)
            if known == len(self.designs):
                parent = NOTHING if parents is None else int(parents[row])
                partner = NOTHING if partners is None else int(partners[row])
                made = Design(places[row], lineage, parent, partner, round, edits[row])
                self._append(made)
        return np.array(numbers, dtype=np.int64)

    def population(
        self,
        numbers: Numbers,
        round: int,
        memory: Mapping[str, Tensor] | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> Population:
        """Designs as the population of a round, in the given order."""
        import torch

        chosen = [int(number) for number in numbers]
        sequences = [self.sequence(number) for number in chosen]
        tokens, lengths = padded(sequences, self._alphabet)
        return Population(
            round,
            torch.tensor(chosen, dtype=torch.int64),
            torch.tensor([self.designs[number].lineage for number in chosen], dtype=torch.int64),
            tokens,
            lengths,
            torch.tensor([self.reward(number) for number in chosen], dtype=torch.float64),
            torch.tensor([self.designs[number].edits for number in chosen], dtype=torch.int64),
            memory or {},
            figures or {},
        )

    def best(self, lineage: int, count: int | None = None) -> list[int]:
        """Numbers of the best designs of a lineage, best first, the earlier of equals first.

        Designs without a score come last; those that keep the bounds of rewards come first, as
        their rewards are higher.
        """
        own = sorted(self._numbers[lineage].values())
        ranked = sorted(own, key=self.reward, reverse=True)
        return ranked[:count]

    def with_ancestors(self, numbers: Iterable[int]) -> list[int]:
        """Designs and all that they were made from, in the order they were made."""
        found, left = set[int](), list(numbers)
        while left:
            number = left.pop()
            if number != NOTHING and number not in found:
                found.add(number)
                left += (self.designs[number].parent, self.designs[number].partner)
        return sorted(found)

    def rows(self, first: int) -> list[list[int]]:
        """Designs from a number on, as plain lists: what ``restore`` takes."""
        return [
            [d.place, d.lineage, d.parent, d.partner, d.round, d.edits]
            for d in self.designs[first:]
        ]

    def restore(self, rows: Sequence[Sequence[Any]]) -> None:
        """Number the designs of an earlier run, whose sequences the ledger knows."""
        for row in rows:
            design = Design(*row)
            self._numbers[design.lineage][self.ledger.sequences[design.place]] = len(self.designs)
            self._append(design)

    def _append(self, design: Design) -> None:
        number, lineage = len(self.designs), design.lineage
        self.designs.append(design)
        leader = self._leaders[lineage]
        if leader is None or self.reward(number) > self.reward(leader):
            self._leaders[lineage] = number

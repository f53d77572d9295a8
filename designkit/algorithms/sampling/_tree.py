"""Search trees of many designs as tensors, one node of each tree at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from designkit.algorithms.sampling._guided import choose
from designkit.diffusion.base import Transition
from designkit.pareto import dominates

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise

Backup = Literal["soft", "mean"]

_WHOLE = 1e-6
"""Probabilities that add up to one but for rounding."""


class Trees:
    """T trees whose nodes are noisy states and whose edges are steps of the model.

    Nodes are made in blocks of M children, one block of every tree at a time; node 0 is the root
    that a tree began with. What a node is worth follows from its children by the soft Bellman
    equation, temperature * log sum_c p(c) exp(Q(c) / temperature), in which what the model may do
    besides its known children is worth what completions of the node itself were. Several objectives
    are followed each by itself; the best children are then all that no other one surpasses.

    Args:
        start: (T, L) tokens of the roots.
        law: of the first step from them.
        own: (T, O) float64, value of the roots by themselves in each of O objectives.
        nodes: most nodes of a tree.
        children: M.
        temperature: of the backup; 0 takes the best of all that is below a node.
        backup: ``mean`` averages over the children instead.

    Attributes:
        tokens: (T, C, L) int64.
        depth: (T, C) int64, steps from the first root.
        quality: (T, C, O) float64, what nodes are worth; -inf for "no score".
        log_prior: (T, C) float64, log-probability of the step from the parent; -inf for no node.
        closed: (T, C) bool, nothing is left to be expanded there.
        root: (T,) int64, where the search begins now.
    """

    def __init__(
        self,
        start: Tensor,
        law: Transition,
        own: Tensor,
        *,
        nodes: int,
        children: int,
        temperature: float,
        backup: Backup,
    ):
        import torch

        trees, device = len(start), start.device
        shape = (trees, nodes)
        self._temperature, self._backup = temperature, backup
        self._rows = torch.arange(trees, device=device)
        self._children = children
        self.tokens = start.new_zeros(*shape, start.shape[1])
        self.depth = start.new_zeros(shape)
        self.log_prior = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        self.quality = self.log_prior[..., None].repeat(1, 1, own.shape[1])
        self._own = self.quality.clone()
        self.closed = torch.ones(shape, dtype=torch.bool, device=device)
        self._first = start.new_full(shape, -1)
        self._visits = torch.zeros(shape, dtype=torch.float64, device=device)
        self._positions = law.positions.new_zeros(*shape, law.positions.shape[1])
        self._open = law.open.new_zeros(*shape, law.open.shape[1])
        self._probs = law.probs.new_zeros(*shape, *law.probs.shape[1:])
        self._low = torch.full_like(own, torch.inf)
        self._high = torch.full_like(own, -torch.inf)
        self.root = torch.zeros_like(self._rows)
        every = slice(None), slice(0, 1)
        self._put(every, start[:, None], torch.zeros_like(own[:, :1]), own[:, None])
        self.closed[every] = False
        self._keep_law(self._rows, self.root, law)
        self._count = 1

    @property
    def root_quality(self) -> Tensor:
        """(T, O) what the roots are worth."""
        return self.quality[self._rows, self.root]

    def descend(self, exploration: float, noise: Noise) -> Tensor:
        """Follow the best edges from each root to a node without children.

        An edge is as good as Q, scaled to 0..1 over its tree, plus
        ``exploration`` * P * sqrt(n of the parent) / (1 + n) (Rosin 2011, doi
        10.1007/s10472-011-9258-6; Silver et al. 2017, doi 10.1038/nature24270).

        Args:
            exploration: what is seldom visited is worth.
            noise: of the T trees, for a choice among edges none of which surpasses another.

        Returns:
            (D, T) int64, the nodes on the way; the last one again where a tree is less deep.
        """
        import torch

        node = self.root
        path = [node]
        low, span = self._low[:, None], (self._high - self._low).clamp(min=1e-12)[:, None]
        while bool((self._first[self._rows, node] >= 0).any()):
            inner = self._first[self._rows, node] >= 0
            kids = self._kids(node)
            scaled = (self._of(self.quality, kids) - low) / span
            prior = self._of(self.log_prior, kids).softmax(1).nan_to_num(0.0)
            visits = self._visits[self._rows, node][:, None]
            bonus = prior * visits.sqrt() / (1 + self._of(self._visits, kids))
            score = scaled.nan_to_num(0.0, neginf=0.0, posinf=1.0) + exploration * bonus[..., None]
            score = score.masked_fill(self._of(self.closed, kids)[..., None], -torch.inf)
            chosen = _unsurpassed(score, noise, f"descend {len(path)}")
            best = kids.gather(1, chosen[:, None]).squeeze(1)
            node = best.where(inner & ~self.closed[self._rows, node], node)
            if bool((node == path[-1]).all()):
                break
            path.append(node)
        return torch.stack(path)

    def law(self, trees: Tensor, node: Tensor) -> Transition:
        """The law of the step from one node of each of A trees."""
        of = trees, node
        return Transition(self._positions[of], self._probs[of], self._open[of])

    def grow(
        self,
        trees: Tensor,
        path: Tensor,
        tokens: Tensor,
        log_prior: Tensor,
        own: Tensor,
        law: Transition | None,
        *,
        finished: Tensor,
    ) -> None:
        """Give the last node on the path of A trees M children, and tell those above.

        Args:
            trees: (A,) int64.
            path: (D, T) as ``descend`` found it.
            tokens: (A, M, L).
            log_prior: (A, M) float64; -inf for places without a child.
            own: (A, M, O) float64; -inf for "no score".
            law: of the step from each child, (A * M) rows; None where all are finished.
            finished: (A,) bool, whether the children have no step left.
        """
        import torch

        block = slice(self._count, self._count + self._children)
        leaf = path[-1, trees]
        parent_depth = self.depth[trees, leaf]
        self._put((trees, block), tokens, log_prior, own)
        self.depth[trees, block] = parent_depth[:, None] + 1
        self.closed[trees, block] = finished[:, None] | log_prior.isneginf()
        if law is not None:
            nodes = torch.arange(block.start, block.stop, device=trees.device).repeat(len(trees))
            self._keep_law(trees.repeat_interleave(self._children), nodes, law)
        self._first[trees, leaf] = self._count
        self._count += self._children
        below: Tensor | None = None
        for node in path[:, trees].flip(0):
            again = torch.zeros_like(node, dtype=torch.bool) if below is None else node == below
            self._update(trees[~again], node[~again])
            below = node

    def commit(self, temperature: float, noise: Noise) -> None:
        """Move each root to one of its children: the best, or one in proportion to its share.

        Of several objectives, to any child that none of the others surpasses.

        Args:
            temperature: above 0 a child is drawn in proportion to p(c) exp(Q(c) / temperature).
            noise: of the T trees.
        """
        kids = self._kids(self.root)
        prior = self._of(self.log_prior, kids)
        quality = self._of(self.quality, kids)
        unscored = quality.isneginf().all(1, keepdim=True)
        quality = quality.where(~unscored, 0.0)
        quality = quality.masked_fill(prior.isneginf()[..., None], -float("inf"))
        if quality.shape[2] == 1:
            best = choose(quality.squeeze(2), prior.clamp(min=-1e6), temperature, noise)
        else:
            best = _unsurpassed(quality, noise, "commit")
        moved = kids.gather(1, best[:, None]).squeeze(1)
        self.root = moved.where(self._first[self._rows, self.root] >= 0, self.root)

    def _update(self, trees: Tensor, node: Tensor) -> None:
        """What nodes with children are worth, and whether anything is left below them."""
        import torch

        kids = self._first[trees, node][:, None] + torch.arange(self._children, device=node.device)
        across = trees[:, None], kids
        quality, prior = self.quality[across], self.log_prior[across]
        own, heat = self._own[trees, node], self._temperature
        left = (1 - prior.exp().sum(1)).clamp(min=0)
        left = left.where(left > _WHOLE, 0.0)[:, None]
        prior = prior[..., None]
        if self._backup == "mean":
            low = self._low[trees].nan_to_num(posinf=0.0)
            quality = quality.where(~quality.isneginf(), low[:, None])
            found = (prior.exp() * quality).sum(1) + left * own.where(~own.isneginf(), low)
        elif heat == 0:
            found = torch.maximum(quality.amax(1), own)
        else:
            rest = (left.log() + own / heat)[:, None]
            logs = torch.cat([prior + quality / heat, rest], dim=1)
            found = heat * logs.logsumexp(1)
        self.quality[trees, node] = found
        self.closed[trees, node] = self.closed[across].all(1)
        self._visits[trees, node] += 1

    def _put(
        self, where: tuple[Tensor | slice, slice], tokens: Tensor, log_prior: Tensor, own: Tensor
    ) -> None:
        import torch

        self.tokens[where], self.log_prior[where] = tokens, log_prior
        self._own[where], self.quality[where] = own, own
        trees = where[0]
        low = own.masked_fill(own.isneginf(), torch.inf).amin(1)
        self._low[trees] = torch.minimum(self._low[trees], low)
        self._high[trees] = torch.maximum(self._high[trees], own.amax(1))

    def _keep_law(self, trees: Tensor, nodes: Tensor, law: Transition) -> None:
        where = trees, nodes
        self._positions[where], self._open[where] = law.positions, law.open
        self._probs[where] = law.probs

    def _kids(self, node: Tensor) -> Tensor:
        """(T, M) the children of a node of every tree; any nodes where it has none."""
        import torch

        first = self._first[self._rows, node].clamp(min=0)
        found: Tensor = first[:, None] + torch.arange(self._children, device=node.device)
        return found

    def _of(self, values: Tensor, nodes: Tensor) -> Tensor:
        found: Tensor = values[self._rows[:, None], nodes]
        return found


def _unsurpassed(points: Tensor, noise: Noise, purpose: str) -> Tensor:
    """One of n points (T, n, O) that no other surpasses, (T,); of one objective the first best."""
    if points.shape[2] == 1:
        return points.squeeze(2).argmax(1)
    surpassed = dominates(points).any(1)
    return noise.uniform(purpose, candidates=points.shape[1]).masked_fill(surpassed, 0.0).argmax(1)


def distinct_letters(law: Transition, count: int, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct outcomes of a step, drawn without putting back, the likelier the sooner.

    Gumbel-top-k position by position (Kool et al. 2019, arXiv 1903.06059, algorithm 1): the
    perturbed log-probability of every prefix is the largest of those of its continuations.

    Args:
        law: of A steps.
        count: M, most outcomes.
        uniform: (A, M * K, P) numbers in (0, 1).

    Returns:
        Letters (A, m, P) and their log-probabilities (A, m), m at most M; -inf for none.
    """
    import torch

    rows, places, size = law.probs.shape
    logs = law.probs.double().log()
    logs = logs - logs.logsumexp(-1, keepdim=True)
    sure = logs.new_full((rows, size), -torch.inf)
    sure[:, 0] = 0
    known = logs.new_zeros(rows, 1)  # log-probability of each prefix
    highest = logs.new_zeros(rows, 1)  # its perturbed log-probability
    letters = law.positions.new_zeros(rows, 1, 0)
    gumbel = -(-uniform.log()).log()
    for place in range(places):
        step = logs[:, place].where(law.open[:, place, None], sure)
        longer = known[:, :, None] + step[:, None]
        noise = gumbel[:, : longer.shape[1] * size, place].view_as(longer)
        drawn = longer + noise
        top = drawn.amax(2, keepdim=True)
        excess = highest[:, :, None] - drawn + torch.log1p(-(drawn - top).exp())
        bound = highest[:, :, None] - excess.clamp(min=0) - torch.log1p((-excess.abs()).exp())
        bound = bound.masked_fill(longer.isneginf(), -torch.inf).flatten(1)
        kept = bound.argsort(dim=1, descending=True, stable=True)[:, :count]
        highest, known = bound.gather(1, kept), longer.flatten(1).gather(1, kept)
        before = letters.gather(1, (kept // size)[..., None].expand(-1, -1, letters.shape[2]))
        letters = torch.cat([before, (kept % size)[..., None]], dim=2)
    return letters, known

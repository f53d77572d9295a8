"""Monte Carlo tree search over the steps of the decoding.

A node is a half-decoded sequence, an edge the letters that the next step reveals. Every iteration
follows the tree to a node without children by their worth, scaled, plus a bonus for what was seldom
visited; gives it M distinct children, drawn from the model without putting back; completes each
and scores the completion; and tells the nodes above (Coulom 2006, doi 10.1007/978-3-540-75538-8_7;
for masked diffusion Tang et al. 2024, arXiv 2412.17780, PepTune). A node is worth
temperature * log sum_c p(c) exp(Q(c) / temperature) over its children, the soft Bellman equation;
so the root's worth goes to the exact soft value as the tree is completed. At temperature 0 it is
the best completion below. After ``iterations`` the root moves on to one of its children, and what
is known below it is kept.

Designs are the best distinct sequences that a tree has scored; with a temperature they are drawn
from all of these in proportion to exp(r / temperature), without putting back. An optimiser: they do
not follow p(x) exp(r(x) / temperature).

With ``archive=pareto`` several rewards are several objectives: a node is worth a vector, followed
are children that no other one surpasses in all of them, and designs are the sequences that none of
all that were scored surpasses (PepTune). Weights of rewards say nothing then but which sign they
have.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, Self, cast

from pydantic import Field, model_validator

from designkit.algorithms.sampling._archive import Archive
from designkit.algorithms.sampling._guided import GuidedSampler, Temperature
from designkit.algorithms.sampling._pareto import ParetoArchive
from designkit.algorithms.sampling._tree import Backup, Trees, distinct_letters
from designkit.algorithms.sampling.base import Designs, Request, without_nan
from designkit.algorithms.values.base import States
from designkit.diffusion.base import predict_distinct
from designkit.distinct import first_equal
from designkit.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.values.base import Objective, Objectives
    from designkit.diffusion.base import Plan, X0Function
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

_RADIX = 1_000_003
_MODULUS = 2_147_483_647


class MCTS(GuidedSampler):
    """Settings of tree search, besides those of ``GuidedSampler``.

    Attributes:
        iterations: nodes that are expanded for each step of the decoding; the budget of a tree is
            iterations * steps * candidates reward rows.
        designs: that are taken from one tree.
        candidates: M, most children of a node.
        exploration: c, what is seldom visited is worth.
        commit: whether the root moves on to a child after ``iterations``; if not, the search stays
            with the first root, and seldom gets to the end of a long sequence.
        backup: ``soft``, or the ``mean`` over the children.
        temperature: of backup, commitment and draw, in units of the reward; 0 takes the best,
            ``auto`` measures one.
        archive: ``best`` keeps the sequences of the highest reward; ``pareto`` those that none
            surpasses in all rewards, as many of them as ``designs``, far from each other.
        value: estimator that completes states: ``posterior_mean``, ``monte_carlo`` or ``rollout``.
    """

    iterations: int = Field(default=3, ge=1)
    designs: int = Field(default=1, ge=1)
    candidates: int = Field(default=10, ge=1)
    exploration: float = Field(default=1.0, ge=0)
    commit: bool = True
    backup: Backup = "soft"
    archive: Literal["best", "pareto"] = "best"
    temperature: Temperature = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.order != "random":
            raise ValueError("mcts reveals positions in a random order: leave order as it is")
        if self.proposal is not None:
            raise ValueError("mcts follows the prior's own steps: leave out proposal")
        if not self.estimator().completes:
            raise ValueError(
                "mcts needs a value that completes what it values: posterior_mean, monte_carlo or "
                "rollout"
            )
        return self

    @property
    def population(self) -> int:
        """Designs of one tree."""
        return self.designs

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """A tree's start and M children for each iteration, over its designs."""
        steps, value = self.steps_for(length), self.estimator()
        children = steps * self.iterations * self.candidates
        most = max(value.denoiser_rows(left) for left in range(steps + 1))
        denoiser = (1 + children) * (1 + most)
        reward = (1 + children) * value.reward_rows
        return -(-denoiser // self.designs), -(-reward // self.designs)

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``; the rows are whole populations."""
        import torch

        assert reward is not None
        self.suited(model.process)
        with torch.inference_mode():
            search = Search(self, model, reward, request, noise)
            for step in range(search.steps):
                for _ in range(self.iterations):
                    if request.should_stop():
                        raise Interrupted(f"given up before step {step + 1} of {search.steps}")
                    search.iterate()
                if self.commit:
                    search.commit(step)
            tokens = search.designs()
            if request.guard is not None and not request.guard.holds(tokens).all():
                # Nothing that was scored satisfies the constraints: a draw that does.
                held = request.guard.holds(tokens)[:, None]
                tokens = tokens.where(held, self.decode(model, request, noise))
            return Designs(tokens)


class Search:
    """The trees of a batch, and the sequences that they have scored.

    Args:
        settings: of the search.
        model: the prior.
        reward: what to raise.
        request: what is asked for.
        noise: of whole populations, one tree for each.

    Attributes:
        steps: from the start to a finished sequence.
        trees: as far as they have grown.
    """

    def __init__(
        self,
        settings: MCTS,
        model: DiffusionModel,
        reward: Objective,
        request: Request,
        noise: Noise,
    ):
        import torch

        device, size = noise.item.device, settings.designs
        settings = settings.suited(model.process)
        assert settings.decoding is not None
        self.steps = settings.steps_for(request.free)
        self._settings, self._process = settings, model.process
        self._reward = _Parts(reward) if settings.archive == "pareto" else reward
        self._value = settings.estimator().prepared(model, request.load_model)
        self._predict: X0Function = partial(settings.predict, model)
        self._noise = noise.rows(torch.arange(0, len(noise.item), size, device=device))
        self._archive: Archive | None = None
        self._new_archive = partial(_KINDS[settings.archive], noise.item, size, request)
        self._rows = torch.arange(len(self._noise.item), device=device)
        given, self._guard = request.known_of(len(self._rows)), request.guard
        self._plan = model.process.plan(
            request.length, self.steps, settings.decoding, self._noise, given
        )
        start, time = self._plan.start, self._plan.times[0]
        probs = predict_distinct(self._predict, start, time)
        plan = self._plan.counted_from(torch.zeros_like(self._rows))
        chance = torch.zeros_like(self._rows, dtype=torch.float64)
        states = States(start, probs, self._rows, 0, plan, self._noise, self._predict, chance)
        if self._guard is not None:
            states = self._guard.judge(states)
            self._predict = states.predict
        law = model.process.transition(start, states.x_0_probs, plan, 0)
        places, letters = law.probs.shape[1:]
        self._children = min(settings.candidates, letters**places)
        self._expanded = 0
        self.trees = Trees(
            start,
            law,
            self._judge(states, self._rows, self._rows[:, None] >= 0).squeeze(1),
            nodes=1 + self.steps * settings.iterations * self._children,
            children=self._children,
            temperature=settings.alpha,
            backup=settings.backup,
        )

    def iterate(self) -> None:
        """Expand one node of every tree that is not complete."""
        import torch

        trees, count = self.trees, self._children
        path = trees.descend(self._settings.exploration, self._noise.at(self._expanded))
        alive = (~trees.closed[self._rows, path[-1]]).nonzero().squeeze(1)
        if not len(alive):
            return
        leaf = path[-1, alive]
        self._expanded += 1
        noise = self._noise.rows(alive).at(self._expanded)
        law, depth = trees.law(alive, leaf), trees.depth[alive, leaf]
        uniform = noise.uniform("action", law.positions.shape[1], count * law.probs.shape[2])
        letters, log_prior = distinct_letters(law, count, uniform)
        children = law.write(trees.tokens[alive, leaf], letters)  # (A, M, L)
        is_child, finished = ~log_prior.isneginf(), depth + 1 == self.steps
        parent = torch.arange(len(alive), device=alive.device).repeat_interleave(count)
        plan = self._plan.rows(alive).counted_from(depth).rows(parent)
        tokens = children.flatten(0, 1)
        probs = self._guess(tokens, plan, finished[parent], is_child.flatten())
        rows, noise = alive[parent], noise.repeat(count)
        chance = torch.zeros_like(rows, dtype=torch.float64)
        states = States(tokens, probs, rows, 1, plan, noise, self._predict, chance)
        if self._guard is not None:
            possible = ~self._guard.judge(states).log_chance.isneginf().view(is_child.shape)
            # Where nothing can be completed any more, one child is as good as another.
            is_child = is_child & (possible | ~(is_child & possible).any(1, keepdim=True))
        own = self._judge(states, alive, is_child)
        last = self.steps == 1
        ahead = None if last else self._process.transition(tokens, probs, plan, 1)
        trees.grow(alive, path, children, log_prior, own, ahead, finished=finished)

    def commit(self, step: int) -> None:
        """Move the roots on."""
        heat = self._settings.temperature_at(step, self.steps)
        self.trees.commit(heat, self._noise.at(step))

    def designs(self) -> Tensor:
        """(B, L) the best sequences of every tree, or a draw from them."""
        assert self._archive is not None
        return self._archive.filled()

    def _guess(self, tokens: Tensor, plan: Plan, finished: Tensor, is_child: Tensor) -> Tensor:
        """Guesses (N, L, K) of children; 0 where there is none."""
        import torch

        size = self._process.size
        probs = torch.zeros(*tokens.shape, size, device=tokens.device)
        going = (is_child & ~finished).nonzero().squeeze(1)
        if len(going):
            times = plan.times[1, going]
            probs[going] = predict_distinct(self._predict, tokens[going], times).to(probs)
        done = (is_child & finished).nonzero().squeeze(1)
        if len(done):
            probs[done] = self._process.certain(tokens[done]).to(probs)
        return probs

    def _judge(self, states: States, trees: Tensor, is_child: Tensor) -> Tensor:
        """What children of A trees, (A, M), are worth by themselves, (A, M, O) float64.

        The clean sequences that are scored on the way go to the archive.
        """
        import torch

        index = is_child.flatten().nonzero().squeeze(1)
        found = self._value.values(self._reward, states.select(index), self._settings.alpha)
        assert found.decoded is not None
        assert found.rewards is not None
        if isinstance(self._reward, _Parts):
            keys = values = self._reward.of(found.decoded)
        else:
            keys = self._keys(found.decoded, found.rewards, states.rows[index])[:, None]
            values = found.values[:, None]
        count = is_child.shape[1]
        place = trees[:, None] * count + torch.arange(count, device=trees.device)
        self._keep(found.decoded, keys, place.flatten()[index], count)
        worth = values.new_full((is_child.numel(), values.shape[1]), -torch.inf)
        worth[index] = without_nan(values)
        return worth.view(*is_child.shape, -1)

    def _keys(self, decoded: Tensor, rewards: Tensor, rows: Tensor) -> Tensor:
        """What scored sequences (n, L) of trees (n,) are ranked by: rewards, or a draw by them."""
        import torch

        keys, heat = without_nan(rewards), self._settings.alpha
        if heat == 0:
            return keys
        # The noise of a sequence is its own, however often it is scored.
        powers = [pow(_RADIX, place, _MODULUS) for place in range(1, decoded.shape[1] + 1)]
        code = ((decoded + 1) * torch.tensor(powers, device=rows.device)).sum(1) % _MODULUS
        uniform = self._noise.rows(rows).uniform("archive", code[:, None]).squeeze(1)
        return keys / heat - uniform.log().neg().log()

    def _keep(self, decoded: Tensor, keys: Tensor, place: Tensor, count: int) -> None:
        """Tell the archive of scored sequences (n, L) at places (n,) of ``count`` for each tree."""
        import torch

        if self._archive is None:
            self._archive = self._new_archive(keys.shape[1])
        shape = (len(self._rows), count)
        tokens = decoded.new_full((shape[0] * count, decoded.shape[1]), -1)
        rewards = keys.new_full((shape[0] * count, keys.shape[1]), -torch.inf)
        tokens[place], rewards[place] = decoded, keys
        self._archive.merge(tokens.view(*shape, -1), rewards.view(*shape, -1))


class _Parts:
    """A reward that remembers, until it is asked, what the rewards of sequences are made of.

    Args:
        reward: to be asked.

    Raises:
        UsageError: it does not tell what it is made of.
    """

    def __init__(self, reward: Objective):
        if not hasattr(reward, "judged"):
            raise UsageError("archive=pareto is for 'designkit sample', where each reward is known")
        self._reward = cast("Objectives", reward)
        self._known: list[tuple[Tensor, Tensor]] = []

    def values(self, tokens: Tensor) -> Tensor:
        """See ``Objective.values``."""
        total, parts = self._reward.judged(tokens)
        self._known.append((tokens, parts))
        return total

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """See ``Objective.score_relaxed``."""
        return self._reward.score_relaxed(probs, valid)

    def of(self, tokens: Tensor) -> Tensor:
        """The objectives (n, O) of sequences (n, L) that were scored since this was last asked.

        Raises:
            UsageError: there are none.
        """
        import torch

        known = torch.cat([scored for scored, _ in self._known])
        parts = torch.cat([parts for _, parts in self._known])
        self._known = []
        if parts.shape[1] == 0:
            raise UsageError("archive=pareto needs rewards to raise: bounds alone have no front")
        return parts[first_equal(torch.cat([known, tokens]))[len(known) :]]


_KINDS = {"best": Archive, "pareto": ParetoArchive}

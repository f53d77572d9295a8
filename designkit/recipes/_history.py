"""What each round of a refinement was like, in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.sequence_stats import by_length, hamming_diversity

if TYPE_CHECKING:
    from designkit.algorithms.refinement.base import Archive, Population

Figures = dict[str, float]


def figures_of(archive: Archive, population: Population, first: int) -> Figures:
    """Figures of a round.

    Args:
        archive: of the run.
        population: that the round left.
        first: number of the first design that the round made.

    Returns:
        ``best`` reward of all so far; ``median_best`` of the best of each lineage;
        ``population_...`` the quantiles of those that go on; ``diversity``, the mean share of
        positions at which two of them differ; ``new`` designs, their median reward and mean number
        of changes from their parents; ``without_score`` of all so far; and what the method tells.
        NaN for what is not there.
    """
    import numpy as np

    nan = float("nan")
    leaders = [archive.leader(lineage) for lineage in range(archive.lineages)]
    best = np.array([nan if n is None else archive.reward(n) for n in leaders])
    best = best[np.isfinite(best)]
    rewards = population.rewards.numpy()
    rewards = rewards[np.isfinite(rewards)]
    new = range(first, len(archive))
    new_rewards = np.array([archive.reward(number) for number in new])
    new_rewards = new_rewards[np.isfinite(new_rewards)]

    def quantile(values: np.ndarray, share: float) -> float:
        return float(np.quantile(values, share)) if len(values) else nan

    return {
        "round": population.round,
        "best": float(best.max()) if len(best) else nan,
        "median_best": quantile(best, 0.5),
        "population": len(population),
        "population_10": quantile(rewards, 0.1),
        "population_median": quantile(rewards, 0.5),
        "population_90": quantile(rewards, 0.9),
        "diversity": _diversity(archive, population),
        "new": len(new),
        "new_median": quantile(new_rewards, 0.5),
        "edits_from_parent": _steps(archive, new),
        "without_score": archive.ledger.unscored,
        **population.figures,
    }


def _diversity(archive: Archive, population: Population) -> float:
    """Mean share of differing positions over pairs of one lineage and length."""
    pairs = differing = 0.0
    for lineage in population.lineages.unique().tolist():
        rows = (population.lineages == lineage).nonzero().flatten()
        members = population.rows(rows)
        tokens = [
            row[:length].numpy()
            for row, length in zip(members.tokens, members.lengths.tolist(), strict=True)
        ]
        for _, alike in by_length(tokens):
            here = len(alike) * (len(alike) - 1) / 2
            if here and alike.shape[1]:
                pairs += here
                differing += here * hamming_diversity(alike, archive.size)
    return differing / pairs if pairs else float("nan")


def _steps(archive: Archive, numbers: range) -> float:
    """Mean number of changes of designs from their parents."""
    children = [number for number in numbers if archive.designs[number].parent >= 0]
    if not children:
        return float("nan")
    parents = [archive.designs[number].parent for number in children]
    changes = archive.distances(
        [archive.sequence(number) for number in children],
        [archive.sequence(number) for number in parents],
    )
    return float(changes.mean())

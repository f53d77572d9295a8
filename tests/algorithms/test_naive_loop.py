"""The decode loop beside a plain one: one row, one child, one letter at a time, nothing reused.

The plain loop asks the network for every state it meets, whether it met it before or not, and
scores every child. Under the same noise both must give the same designs, letter for letter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch

from designkit import plugins
from designkit.algorithms.sampling.base import Request
from designkit.alphabet import DNA
from designkit.diffusion.masked import Masked
from designkit.models._chunks import CPU_ROWS
from designkit.models.base import DiffusionModel, LengthLaw, one_hot
from designkit.models.cnn import CNNDenoiser
from designkit.randomness import Noise, noise_for
from designkit.recipes.training import build_seeded
from designkit.rewards import RewardEngine, WeightedReward, reward

LENGTH, MASK = 10, DNA.size
BATCH, CANDIDATES = 8, 4
State = list[int]


def model() -> DiffusionModel:
    """Random weights; logits scaled up so that letters depend on each other."""
    settings = CNNDenoiser(channels=8, kernel=5, dilations=(1, 3), repeats=1)
    net = build_seeded(lambda: settings.build(DNA.size + 1, DNA.size), 0).eval()
    with torch.no_grad():
        net.head.weight.mul_(8)
    return DiffusionModel(net, Masked(size=DNA.size), DNA, LengthLaw({LENGTH: 1}))


def worth(sequence: str) -> float:
    """Ties are rare, and no letter is better whatever its neighbours."""
    return sum((i + 1) * "ACGT".index(s) % 7 for i, s in enumerate(sequence)) / 3 - sequence.count(
        "GC"
    )


@reward
def rough(sequences: list[str]) -> list[float]:
    return [worth(sequence) for sequence in sequences]


@dataclass
class Plain:
    """Numbers addressed by what they are for, a network, and a count of its rows."""

    network: torch.nn.Module
    decoding: str
    steps: int
    seed: int
    rows: int = 0
    numbers: dict[str, dict[tuple[int, ...], list[float]]] = field(default_factory=dict)
    answers: dict[tuple[int, ...], list[list[float]]] = field(default_factory=dict)
    best: dict[int, tuple[float, State]] = field(default_factory=dict)

    def uniform(self, purpose: str, item: int, step: int = 0, candidate: int = 0) -> list[float]:
        if purpose not in self.numbers:  # all that may be asked for, at once
            address = torch.cartesian_prod(
                torch.arange(BATCH), torch.arange(self.steps), torch.arange(CANDIDATES)
            )
            noise = Noise(self.seed, *address.T)
            numbers = noise.uniform(purpose, LENGTH).tolist()
            self.numbers[purpose] = dict(zip(map(tuple, address.tolist()), numbers, strict=True))
        return self.numbers[purpose][item, step, candidate]

    def guess(self, state: State) -> list[list[float]]:
        """Probabilities of the letters at each position; the row is the whole batch."""
        self.rows += 1
        if tuple(state) not in self.answers:  # to save the test's time alone: the row is counted
            self.answers[tuple(state)] = self.ask(state)
        return self.answers[tuple(state)]

    def ask(self, state: State) -> list[list[float]]:
        x = one_hot(torch.tensor([state] * CPU_ROWS), DNA.size + 1)
        with torch.no_grad():
            probs = self.network(x, torch.zeros(CPU_ROWS))[0].softmax(-1).tolist()
        return [
            p if token == MASK else [float(k == token) for k in range(DNA.size)]
            for token, p in zip(state, probs, strict=True)
        ]

    def reveals(self, item: int) -> list[int]:
        """The step at which each position of an item is revealed."""
        u = self.uniform("reveal", item)
        if self.decoding == "grid":
            return [min(self.steps - 1, math.floor((1 - number) * self.steps)) for number in u]
        rank = {place: r for r, place in enumerate(sorted(range(LENGTH), key=u.__getitem__))}
        return [rank[place] * self.steps // LENGTH for place in range(LENGTH)]

    def child(self, state: State, when: list[int], item: int, step: int, candidate: int) -> State:
        probs, u = self.guess(state), self.uniform("token", item, step, candidate)
        return [
            draw(probs[place], u[place]) if when[place] == step else token
            for place, token in enumerate(state)
        ]

    def value(self, state: State, item: int, by: State) -> float:
        """The reward of the completion most probable by the guess of ``by``; the best is kept."""
        likeliest = [max(range(DNA.size), key=p.__getitem__) for p in self.guess(by)]
        pairs = zip(state, likeliest, strict=True)
        decoded = [letter if token == MASK else token for token, letter in pairs]
        found = worth("".join("ACGT"[token] for token in decoded))
        if item not in self.best or found > self.best[item][0]:
            self.best[item] = (found, decoded)
        return found


def draw(weights: list[float], uniform: float) -> int:
    """The first place at which the running sum exceeds this share of the total."""
    running = 0.0
    for place, weight in enumerate(weights):
        running += weight
        if running > uniform * sum(weights):
            return place
    raise AssertionError


def plain_ancestral(plain: Plain, item: int) -> State:
    state, when = [MASK] * LENGTH, plain.reveals(item)
    for step in range(plain.steps):
        state = plain.child(state, when, item, step, 0)
    return state


def plain_svdd(plain: Plain, item: int, candidates: int, temperature: float) -> State:
    state, when = [MASK] * LENGTH, plain.reveals(item)
    for step in range(plain.steps):
        children = [plain.child(state, when, item, step, m) for m in range(candidates)]
        # Where the best child is wanted, all are completed by one guess, that of their parent.
        guesses = [state if temperature == 0 and candidates > 1 else child for child in children]
        values = [plain.value(c, item, by) for c, by in zip(children, guesses, strict=True)]
        if temperature == 0:
            state = children[values.index(max(values))]
        else:
            weights = [math.exp((value - max(values)) / temperature) for value in values]
            state = children[draw(weights, plain.uniform("select", item, step)[0])]
    return plain.best[item][1] if temperature == 0 else state


def plain_smc(
    plain: Plain, items: list[int], temperature: float, threshold: float
) -> tuple[list[State], float]:
    """A population's designs and the log of its estimate of E[exp(reward / temperature)]."""
    size = len(items)
    states, whens = [[MASK] * LENGTH] * size, [plain.reveals(item) for item in items]
    potentials, log_weights, log_normalizer = [0.0] * size, [0.0] * size, 0.0
    for step in range(plain.steps):
        for i, item in enumerate(items):
            states[i] = plain.child(states[i], whens[i], item, step, 0)
            new = plain.value(states[i], item, states[i]) / temperature
            log_weights[i] += new - potentials[i]
            potentials[i] = new
        top = max(log_weights)
        weights = [math.exp(w - top) for w in log_weights]
        last = step == plain.steps - 1
        if not last and sum(weights) ** 2 / sum(w * w for w in weights) >= threshold * size:
            continue
        log_normalizer += top + math.log(sum(weights) / size)
        start = plain.uniform("resample", items[0], step)[0]
        chosen = [draw(weights, (place + start) / size) for place in range(size)]
        if last:
            key = [plain.uniform("place", item, step)[0] for item in items]
            chosen = [chosen[place] for place in sorted(range(size), key=key.__getitem__)]
        states = [states[i] for i in chosen]
        whens = [whens[i] for i in chosen]
        potentials = [potentials[i] for i in chosen]
        log_weights = [0.0] * size
    return states, log_normalizer


def settings_of(name: str) -> list[dict[str, float]]:
    return {
        "ancestral": [{}],
        "svdd": [
            {"candidates": CANDIDATES, "temperature": 0.0},
            {"candidates": CANDIDATES, "temperature": 0.7},
        ],
        "smc": [
            {"particles": 4, "temperature": 1.5, "threshold": 0.6},
            {"particles": 4, "temperature": 1.5, "threshold": 1.0},
        ],
    }[name]


CASES = [(name, own) for name in ("ancestral", "svdd", "smc") for own in settings_of(name)]


@pytest.mark.parametrize(("decoding", "steps"), [("blocks", LENGTH), ("blocks", 4), ("grid", 16)])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_designs_are_those_of_the_plain_loop(
    name: str, settings: dict[str, float], decoding: str, steps: int
) -> None:
    prior = model()
    plain = Plain(prior.denoiser, decoding, steps, seed=3)
    sampler = plugins.find("designkit.samplers", name)(steps=steps, decoding=decoding, **settings)
    engine = RewardEngine([WeightedReward(rough())], alphabet=DNA)
    found = sampler.sample(prior, engine, Request(LENGTH), noise_for(3, BATCH))
    if name == "smc":
        size = int(settings["particles"])
        ends = [
            plain_smc(
                plain, list(range(i, i + size)), settings["temperature"], settings["threshold"]
            )
            for i in range(0, BATCH, size)
        ]
        expected = [state for states, _ in ends for state in states]
        estimates = torch.tensor([end[1] for end in ends], dtype=torch.float64)
        torch.testing.assert_close(found.columns["log_normalizer"][::size], estimates)
    elif name == "svdd":
        expected = [
            plain_svdd(plain, i, int(settings["candidates"]), settings["temperature"])
            for i in range(BATCH)
        ]
    else:
        expected = [plain_ancestral(plain, i) for i in range(BATCH)]
    assert found.tokens.tolist() == expected
    assert len(set(map(tuple, expected))) > BATCH / 3
    # The plain loop asks for what it has asked before.
    rows, scored = sampler.calls_per_design(LENGTH)
    assert prior.counter.rows <= min(rows * BATCH, plain.rows)
    assert engine.rows_scored <= scored * BATCH


def test_a_row_of_svdd_costs_one_and_candidates_a_step() -> None:
    """Before equal children are found: one row at first, M a step, none for finished designs."""
    sampler = plugins.find("designkit.samplers", "svdd")(candidates=10, steps=LENGTH)
    rows, scored = sampler.calls_per_design(LENGTH)
    assert rows <= 1 + 10 * LENGTH
    assert scored == 10 * LENGTH

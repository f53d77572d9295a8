"""Positions that a prior says belong together are drawn anew together, by every method."""

from __future__ import annotations

import pytest
import torch

from designkit.algorithms.refinement._pairs import Pairs
from designkit.algorithms.refinement._variation import with_partners
from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Refiner
from designkit.algorithms.refinement.genetic import Genetic
from designkit.algorithms.refinement.mh import MH
from designkit.algorithms.refinement.rehearse import Rehearse
from designkit.algorithms.refinement.rerd import RERD
from designkit.alphabet import RNA
from designkit.dot_bracket import partners
from designkit.randomness import noise_for
from designkit.registry.build import load_diffusion_model
from designkit.registry.rules import find_prior
from designkit.rewards import RewardEngine, WeightedReward, load_reward

STRUCTURE = "((.((....))..))..."
MODEL = load_diffusion_model(find_prior(f"base_pairs?structure={STRUCTURE}"))
PARTNERS = torch.tensor(partners(STRUCTURE))


@pytest.mark.parametrize(
    "method",
    [RERD(), RERD(selection="none"), Genetic(mutation="prior"), MH(temperature=1.0), Rehearse()],
    ids=lambda method: type(method).__name__,
)
def test_partners_are_drawn_anew_together(method: Refiner) -> None:
    engine = RewardEngine([WeightedReward(load_reward("gc"))], alphabet=RNA)
    archive = Archive(Ledger(engine, RNA), RNA, (None,))
    noise = noise_for(1, 300)
    members = method.first(MODEL, archive, Brief(), noise)
    members = archive.population([members.numbers[0].item()] * 300, 0)
    nobody = torch.zeros(300, dtype=torch.bool)
    pairs = Pairs(torch.arange(300), members, members, nobody, archive.root_tokens(members))
    free = torch.arange(len(STRUCTURE)) > 3
    for brief in (Brief(), Brief(changeable=lambda length: free)):
        chosen = method.drafts(MODEL, pairs, brief, noise).chosen
        both = chosen == chosen[:, PARTNERS]
        if brief.changeable(len(STRUCTURE)) is None:
            assert both.all()
        else:
            assert not chosen[:, :4].any()
            assert both[:, free[PARTNERS] & free].all()
        assert chosen[:, PARTNERS != torch.arange(len(STRUCTURE))].any()
        assert chosen[:, 2:].any()


def test_sequences_of_another_length_have_no_partners() -> None:
    chosen = torch.tensor([[True, False, False]])
    assert torch.equal(with_partners(MODEL, chosen, torch.ones_like(chosen)), chosen)

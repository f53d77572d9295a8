"""Models that a sampler names besides the prior: whether they fit it, told from their cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from designkit.errors import ModelError, UsageError

if TYPE_CHECKING:
    from designkit.algorithms.sampling.base import Sampler
    from designkit.registry.store import StoredModel


def check_references(sampler: Sampler, stored: StoredModel, lengths: Sequence[int]) -> None:
    """Refuse a proposal or a value network that does not fit, before any work.

    Args:
        sampler: that names them.
        stored: the prior.
        lengths: that designs may have.

    Raises:
        ModelError: there is none of that name, or a network for another prior.
        UsageError: a proposal with other letters, another noise process or other lengths.
    """
    from designkit.registry.store import Registry

    proposal = getattr(sampler, "proposal", None)
    if proposal is not None:
        reason = _misfit(Registry().find(proposal), stored, lengths)
        if reason:
            raise UsageError(f"proposal {proposal}: {reason}")
    make = getattr(sampler, "estimator", None)
    network = getattr(make(), "model", None) if make is not None else None
    if network is not None:
        card = Registry().find(network).card
        if card["kind"] != "value":
            raise ModelError(f"{network!r} is not a value network ('designkit pretrain --prior')")
        prior = card["prior"]
        if prior["sha256"] != stored.sha256:
            raise ModelError(
                f"value network {network!r} is for the prior {prior['ref']}, not for "
                f"{stored.name}: train one for it"
            )


def _misfit(other: StoredModel, stored: StoredModel, lengths: Sequence[int]) -> str:
    """Why a model cannot take steps in the place of the prior; empty where it can."""
    from designkit.registry.build import component

    card, own = other.card, stored.card
    if card["kind"] != "diffusion":
        return "it is not a prior"
    if card["alphabet"]["letters"] != own["alphabet"]["letters"]:
        names = card["alphabet"]["name"], own["alphabet"]["name"]
        return f"its letters are {names[0]}, those of the prior {names[1]}"
    process, wanted = (component("designkit.processes", one["process"]) for one in (card, own))
    if process != wanted:
        return f"its noise is {process!r}, that of the prior {wanted!r}"
    law = [int(length) for length in card["length_law"]]
    wrong = next((length for length in lengths if not min(law) <= length <= max(law)), None)
    if wrong is not None:
        written = f"{law[0]}" if len(law) == 1 else f"{min(law)} to {max(law)}"
        return f"it writes {written} letters, not {wrong}"
    return ""

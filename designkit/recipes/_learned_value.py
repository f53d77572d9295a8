"""What a run does about a value network that its sampler names: does it fit, and was it meant?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from designkit.algorithms.sampling.base import Sampler
    from designkit.algorithms.values.base import LoadModel
    from designkit.models._value import ValueModel
    from designkit.models.base import DiffusionModel

LARGEST_RATIO = 1.25
"""Of two temperatures that count as about the same."""


def network_of(sampler: Sampler, model: DiffusionModel, load_model: LoadModel) -> ValueModel | None:
    """The value network that a sampler names, loaded and found to fit; None where it names none.

    Raises:
        ModelError: it does not fit the model.
    """
    make = getattr(sampler, "estimator", None)
    if make is None:
        return None
    found: ValueModel | None = getattr(make().prepared(model, load_model), "network", None)
    return found


def at_its_temperature(sampler: Sampler, network: ValueModel | None) -> Sampler:
    """The sampler; where no temperature was given, and it needs one, with that of the network."""
    if network is None or getattr(sampler, "temperature", 0) is not None:
        return sampler
    return sampler.model_copy(update={"temperature": network.temperature})


def doubts(
    sampler: Sampler, network: ValueModel | None, rewards: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What to warn of: a network that was trained for another reward or temperature.

    Args:
        sampler: its temperature is known.
        network: None where there is none.
        rewards: of the run, as recorded.
    """
    if network is None:
        return []
    found = []
    trained, here = _essence(network.rewards), _essence(rewards)
    if trained != here:
        names = ", ".join(str(one["name"]) for one in network.rewards)
        found.append(
            f"value network {network.name} was trained for another reward than this run has "
            f"({names}, with its weights, transforms and bounds)"
        )
    temperature = getattr(sampler, "temperature", 0)
    if temperature and network.is_soft:
        ratio = temperature / network.temperature
        if not 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO:
            found.append(
                f"value network {network.name} was trained for alpha {network.temperature:g}, "
                f"this run has {temperature:g}"
            )
    return found


def _essence(rewards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What decides a reward's values, of those that count; in an order of its own."""
    left_out = {"column", "sources"}
    kept = [
        {key: value for key, value in one.items() if key not in left_out}
        for one in rewards
        if one["role"] != "monitor"
    ]
    return sorted(kept, key=repr)

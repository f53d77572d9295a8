"""From a stored model to one that computes, and back to the fields of its card."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from designkit import plugins
from designkit.alphabet import Alphabet
from designkit.errors import ModelError
from designkit.models._value import ValueModel, channels
from designkit.models.base import DiffusionModel, LengthLaw, Predictor
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from designkit.registry.store import StoredModel


def component(group: str, fields: dict[str, Any]) -> Any:
    """The settings object of a plugin from ``name`` and its settings."""
    settings = dict(fields)
    plugin = plugins.find(group, settings.pop("name"))
    return validate(plugin, Layer("settings", settings))


def component_fields(name: str, settings: Settings) -> dict[str, Any]:
    """What ``component`` reads: the form stored in a card."""
    return {"name": name, **settings.model_dump(mode="json")}


def class_names(card: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes that a stored prior can be conditioned on."""
    return tuple(card.get("classes", {}).get("names", ()))


def load_diffusion_model(
    stored: StoredModel, device: torch.device | str = "cpu", precision: str = "fp32"
) -> DiffusionModel:
    """Build a stored prior.

    Raises:
        ModelError: the model is of another kind, or its files are damaged.
    """
    card = _card(stored, "diffusion")
    process = component("designkit.processes", card["process"])
    settings = component("designkit.denoisers", card["architecture"])
    classes = class_names(card)
    network = settings.build(process.states, process.size, len(classes))
    _load(network, stored.weights("cpu"), stored)
    return DiffusionModel(
        denoiser=network.to(device).eval(),
        process=process,
        alphabet=Alphabet.from_dict(card["alphabet"]),
        length_law=LengthLaw.from_dict(card["length_law"]),
        name=stored.name,
        sha256=stored.sha256,
        precision=precision,
        time_conditioned=settings.time_conditioned,
        classes=classes,
    )


def load_predictor(stored: StoredModel, device: torch.device | str = "cpu") -> Predictor:
    """Build a stored predictor.

    Raises:
        ModelError: the model is of another kind, or its files are damaged.
    """
    import torch

    card = _card(stored, "predictor")
    alphabet = Alphabet.from_dict(card["alphabet"])
    law = LengthLaw.from_dict(card["length_law"])
    settings = component("designkit.predictors", card["architecture"])
    flanks = tuple(card["flanks"])
    canvas = law.maximum + sum(len(alphabet.split(flank)) for flank in flanks)
    weights = stored.weights("cpu")
    members = []
    for number in range(card["members"]):
        prefix = f"member_{number}."
        network = settings.build(alphabet.size, len(card["outputs"]), canvas)
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        _load(network, own, stored)
        members.append(network.to(device).eval())
    return Predictor(
        members=members,
        alphabet=alphabet,
        outputs=card["outputs"],
        mean=torch.tensor(card["statistics"]["mean"], device=device),
        scale=torch.tensor(card["statistics"]["scale"], device=device),
        length_law=law,
        reverse_complement=card["reverse_complement"],
        flanks=(flanks[0], flanks[1]),
        name=stored.name,
        sha256=stored.sha256,
        calibration=[(one["factor"], one["constant"]) for one in card.get("calibration", [])],
    )


def load_value(stored: StoredModel, device: torch.device | str = "cpu") -> ValueModel:
    """Build a stored value network.

    Raises:
        ModelError: the model is of another kind, or its files are damaged.
    """
    card = _card(stored, "value")
    process = component("designkit.processes", card["process"])
    law = LengthLaw.from_dict(card["length_law"])
    settings = component("designkit.predictors", card["architecture"])
    timed = card["time_conditioned"]
    network = settings.build(channels(process, time_conditioned=timed), 1, law.maximum)
    _load(network, stored.weights("cpu"), stored)
    return ValueModel(
        network=network.to(device).eval(),
        process=process,
        alphabet=Alphabet.from_dict(card["alphabet"]),
        length_law=law,
        mean=card["statistics"]["mean"],
        scale=card["statistics"]["scale"],
        temperature=card["temperature"],
        objective=card["objective"],
        prior=card["prior"],
        rewards=card["rewards"],
        time_conditioned=timed,
        name=stored.name,
        sha256=stored.sha256,
    )


LOADERS: dict[str, Callable[..., DiffusionModel | Predictor | ValueModel]] = {
    "diffusion": load_diffusion_model,
    "predictor": load_predictor,
    "value": load_value,
}
"""By kind, what builds a stored model on a device."""


def _card(stored: StoredModel, kind: str) -> dict[str, Any]:
    found = stored.card.get("kind")
    if found != kind:
        wanted = {
            "diffusion": "a prior",
            "predictor": "a predictor",
            "value": "a value network",
        }[kind]
        raise ModelError(f"{stored.name} is a {found} model; {wanted} is needed here")
    return stored.card


def _load(network: nn.Module, weights: dict[str, Tensor], stored: StoredModel) -> None:
    """Put stored weights, of whatever floating-point precision, into a float32 network."""
    full = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    try:
        network.load_state_dict(full)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{stored.path}: the weights do not fit the card ({reason})") from error

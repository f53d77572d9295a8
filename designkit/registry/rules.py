"""Priors that are rules: named by a reference with their settings, nothing of them is on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from designkit import plugins
from designkit.alphabet import BUILTIN_ALPHABETS
from designkit.errors import UsageError
from designkit.models._rules import RuleSettings
from designkit.registry.store import Registry, StoredModel
from designkit.settings import Layer, validate

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GROUP = "designkit.denoisers"


def find_prior(ref: str) -> StoredModel:
    """The prior that a reference names.

    Args:
        ref: ``name?key=value&key=value``, rules and their settings, ``%26`` standing for a ``&``
            in a value; anything else names a model of the registry.

    Raises:
        UsageError: no such rules.
        ConfigurationError: settings that they do not have.
        ModelError: no such model.
    """
    name, separator, query = ref.partition("?")
    if not separator:
        return Registry().find(ref)
    plugin = plugins.find(GROUP, name)
    if not issubclass(plugin, RuleSettings):
        raise UsageError(f"model {ref!r}: {name} is a network to be trained; name a trained model")
    layer = Layer(f"model {name}")
    for part in query.split("&"):
        key, equals, value = part.partition("=")
        if not key or not equals or key in layer.data:
            raise UsageError(f"model {ref!r}: settings are written ?key=value&key=value, each once")
        layer.data[unquote(key)] = unquote(value)
    return RulePrior.of(name, validate(plugin, layer))


@dataclass(frozen=True)
class RulePrior(StoredModel):
    """A prior of rules in the place of a stored one.

    Args:
        settings: of its denoiser.
    """

    settings: RuleSettings = field(kw_only=True)

    @classmethod
    def of(cls, name: str, settings: RuleSettings) -> RulePrior:
        """The prior of rules of a name."""
        alphabet = BUILTIN_ALPHABETS[settings.alphabet]
        card = {
            "kind": "diffusion",
            "name": name,
            "version": 1,
            "parent": None,
            "alphabet": alphabet.to_dict(),
            "process": {"name": "masked", "size": alphabet.size},
            "architecture": {"name": name, **settings.model_dump(mode="json")},
            "length_law": settings.length_law.to_dict(),
        }
        return cls(Path(name), name, 1, card, packaged=True, settings=settings)

    @property
    def sha256(self) -> str:
        """Hash of the settings."""
        told = json.dumps(self.card["architecture"], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def ref(self) -> str:
        """Its name: the settings may be long."""
        return self.name

    def weights(self, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """What the rules are written as."""
        alphabet = BUILTIN_ALPHABETS[self.settings.alphabet]
        network = self.settings.build(alphabet.size + 1, alphabet.size)
        tensors: dict[str, Tensor] = network.state_dict()
        return {name: tensor.to(device) for name, tensor in tensors.items()}

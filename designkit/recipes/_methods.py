"""What the commands share that make designs: their settings, and the method that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from designkit import plugins
from designkit.constraints import ConstraintSettings
from designkit.errors import ConfigurationError, UsageError, did_you_mean
from designkit.recipes.objective import ObjectiveSettings
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    from designkit.registry.store import StoredModel


class DesignSettings(ObjectiveSettings):
    """What a preset of ``sample`` or ``refine`` may hold, besides its rewards.

    Attributes:
        model: the prior.
        num: designs to make.
        length: of every design; that of the template, or drawn from the prior's length law, when
            not given.
        condition: the prior's class to draw from; all sequences when not given.
        constraints: what every design must satisfy.
        method: ``name`` of the method and its settings.
        batch_size: designs decoded together; changes speed and memory, not the designs.
        effective_share: what ``--alpha auto`` aims at: the effective size of the prior's designs,
            weighted by exp(reward / alpha), as a share of their number.
        precision: arithmetic of the prior.
        on_invalid: designs that a reward cannot score: ``fail`` stops when they are more than a
            fifth, ``skip`` leaves them out, ``worst`` keeps them whatever their number.
    """

    model: str
    num: int = Field(default=10, ge=1)
    length: int | None = Field(default=None, ge=1)
    condition: str | None = None
    constraints: ConstraintSettings = Field(default_factory=ConstraintSettings)
    method: dict[str, Any]
    batch_size: int = Field(default=64, ge=1)
    effective_share: float = Field(default=0.1, gt=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    on_invalid: Literal["fail", "skip", "worst"] = "fail"


D = TypeVar("D", bound=ObjectiveSettings)


def named_method(merged: Layer, default: str) -> Layer:
    """What a configuration says of the method, its name included; ``method: NAME`` is a name."""
    if isinstance(merged.data.get("method"), str):
        merged.data["method"] = {"name": merged.data["method"]}
    method = merged.at("method")
    method.data.setdefault("name", default)
    return method


def resolve_method(
    merged: Layer, method: Layer, schema: type[D], group: str, no_model: str
) -> tuple[D, Any]:
    """Settings of a run and its method, checked without importing torch; lists every problem.

    A key of ``--set`` that is none of the run's settings is taken for a setting of the method.

    Args:
        merged: the whole configuration.
        method: what it says of the method.
        schema: of the run's settings.
        group: of the method's plugins.
        no_model: what to say where there is no model.

    Raises:
        ConfigurationError: all problems.
    """
    plugin: type[Settings] = plugins.find(group, str(method.data["name"]))
    for key in [key for key in merged.data if key not in schema.model_fields]:
        is_misspelt = did_you_mean(key, schema.model_fields)
        if key in plugin.model_fields or not is_misspelt:
            method.data[key] = merged.data.pop(key)
            method.origins |= {path: o for path, o in merged.origins.items() if path[0] == key}
    merged.data["method"] = method.data
    own = {key: value for key, value in method.data.items() if key != "name"}
    problems: list[str] = []
    if "temperature" in own and "temperature" not in plugin.model_fields:
        del own["temperature"]
        origin = method.origin(("temperature",))
        problems.append(f"{origin}: method {method.data['name']} has no alpha")
    settings = made = None
    if "model" not in merged.data:
        problems.append(no_model)
        merged.data["model"] = ""
    try:
        settings = validate(schema, merged)
    except ConfigurationError as error:
        problems += error.problems
    try:
        made = validate(plugin, Layer(method.label, own, method.origins), "method")
    except ConfigurationError as error:
        problems += error.problems
    if settings is None or made is None or problems:
        raise ConfigurationError(problems)
    return settings, made


def check_condition(condition: str | None, stored: StoredModel, needed_by: str | None) -> None:
    """Refuse a class that the prior does not have, before any work.

    Args:
        condition: the class that was asked for.
        stored: the prior.
        needed_by: the method, where it needs a class.

    Raises:
        UsageError: an unknown class, or none where the method needs one.
    """
    from designkit.models.base import class_index
    from designkit.registry.build import class_names

    classes = class_names(stored.card)
    if condition is not None:
        class_index(condition, classes, stored.name)
    elif needed_by is not None:
        known = f"the classes are {', '.join(classes)}" if classes else "the model has no classes"
        raise UsageError(f"method {needed_by} needs a class: add --condition CLASS ({known})")

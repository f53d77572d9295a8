from __future__ import annotations

import inspect
import typing

import pytest

from designkit.cli import _options as options
from designkit.cli.app import create_app


def flags_of(alias: object) -> list[str]:
    """Flags of an Annotated typer option; none for arguments."""
    *_, info = typing.get_args(alias)
    words = [info.default, *(info.param_decls or ())]  # typer sorts them out when it builds
    return [word for word in words if isinstance(word, str) and word.startswith("-")]


ALIASES = {
    name: alias
    for name, alias in vars(options).items()
    if hasattr(alias, "__metadata__") and not name.startswith("_")
}


def test_no_flag_is_defined_twice() -> None:
    flags = [flag for alias in ALIASES.values() for flag in flags_of(alias)]
    assert {"--seed", "--device", "--set", "-o", "--output", "--shard", "--quiet"} <= set(flags)
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("name", ALIASES)
def test_every_option_has_help(name: str) -> None:
    *_, info = typing.get_args(ALIASES[name])
    assert info.help.endswith(".")


def test_commands_take_shared_flags_from_here() -> None:
    shared = {flag for alias in ALIASES.values() for flag in flags_of(alias)}
    known = {id(typing.get_args(alias)[-1]) for alias in ALIASES.values()}
    app = create_app()
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    callbacks = [command.callback for group in groups for command in group.registered_commands]
    assert callbacks
    for callback in callbacks:
        hints = typing.get_type_hints(inspect.unwrap(callback), include_extras=True)
        for parameter, hint in hints.items():
            own = hasattr(hint, "__metadata__") and id(typing.get_args(hint)[-1]) not in known
            clash = set(flags_of(hint)) & shared if own else set()
            assert not clash, f"{callback.__module__}: {parameter} redefines {clash}"

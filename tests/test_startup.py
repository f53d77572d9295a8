"""Help, lists and refusals must not wait for numerical libraries."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import designkit.cli

HEAVY = {"torch", "pandas", "Bio", "numpy", "accelerate", "safetensors", "transformers", "scipy"}
COMMANDS = sorted(
    module.name
    for module in pkgutil.iter_modules(designkit.cli.__path__)
    if module.name != "app" and not module.name.startswith("_")
)


def imported_by(code: str) -> set[str]:
    """Top-level packages in ``sys.modules`` after running code in a fresh interpreter."""
    report = "\nimport sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    return {name.partition(".")[0] for name in json.loads(process.stderr.splitlines()[-1])}


def program(*arguments: str, code: int = 0) -> str:
    return (
        "from designkit.cli.app import main\n"
        f"code = main({list(arguments)!r})\n"
        f"assert code == {code}, code\n"
    )


def test_the_check_sees_what_is_imported() -> None:
    assert "numpy" in imported_by("import numpy")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import designkit", id="import"),
        pytest.param(program("--help"), id="help"),
        pytest.param(program("--version"), id="version"),
        pytest.param(program("presets", "list"), id="presets list"),
        pytest.param(program("presets", "show", "absent", code=2), id="unknown preset"),
        pytest.param(program("--hlep", code=2), id="misspelt option"),
        pytest.param(program("smaple", code=2), id="misspelt command"),
    ],
)
def test_light_even_without_yaml(code: str) -> None:
    assert not imported_by(code) & (HEAVY | {"yaml"})


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(program("models", "list"), id="models list"),
        pytest.param(program("models", "show", "absent", code=4), id="unknown model"),
        pytest.param(program("rewards", "list"), id="rewards list"),
        pytest.param(program("rewards", "show", "gc"), id="rewards show"),
        pytest.param(program("rewards", "show", "absent", code=4), id="unknown reward"),
        pytest.param("import designkit.settings, designkit.plugins", id="leaves"),
        pytest.param("import designkit.rewards", id="rewards"),
        pytest.param("import designkit.registry", id="registry"),
        pytest.param(
            "from designkit.plugins import names\n"
            "groups = 'samplers', 'refiners', 'finetuners', 'denoisers', 'predictors'\n"
            "groups += ('processes', 'rewards')\n"
            "for group in groups:\n"
            "    names('designkit.' + group)",
            id="names of plugins",
        ),
        pytest.param(
            "from designkit.errors import ConfigurationError\n"
            "from designkit.settings import Settings, parse_set, resolve\n"
            "class Run(Settings):\n    seed: int = 0\n"
            "try: resolve(Run, [parse_set(['sed=1'])])\n"
            "except ConfigurationError: pass\n"
            "else: raise SystemExit(1)",
            id="configuration error",
        ),
    ],
)
def test_light(code: str) -> None:
    assert not imported_by(code) & HEAVY


def test_help_of_every_command_is_light() -> None:
    assert COMMANDS
    code = "".join(program(command, "--help") for command in COMMANDS)
    assert not imported_by(code) & (HEAVY | {"yaml"})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_option_of_every_command_is_refused_at_once(command: str) -> None:
    code = program(command, "--no-such-option-anywhere", code=2)
    assert not imported_by(code) & (HEAVY | {"yaml"})

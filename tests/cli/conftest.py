"""Tiny models with random weights, the program as a process, and files to feed it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("designkit"))
TINY_CNN = {"name": "cnn", "channels": 8, "kernel": 3, "dilations": [1], "repeats": 1}
SECONDS_AT_MOST = 110


def _save(registry, name: str, kind: str, alphabet, lengths: dict[int, int], **fields) -> None:
    """Store a network with random weights that depend on the name's letters alone."""
    import torch

    from designkit.models.base import LengthLaw
    from designkit.recipes.training import build_seeded
    from designkit.registry.build import component

    law = LengthLaw(lengths)
    card = {
        "kind": kind,
        "alphabet": alphabet.to_dict(),
        "architecture": TINY_CNN if kind == "diffusion" else {**TINY_CNN, "pool": 1},
        "length_law": law.to_dict(),
        "parent": None,
        "summary": f"random {kind}",
        **fields,
    }
    seed = sum(map(ord, name))
    if kind == "diffusion":
        card["process"] = {"name": "masked", "size": alphabet.size}
        settings = component("designkit.denoisers", card["architecture"])
        network = build_seeded(lambda: settings.build(alphabet.size + 1, alphabet.size), seed)
        weights = network.state_dict()
    else:
        del card["architecture"]["kernel"], card["architecture"]["repeats"]
        settings = component("designkit.predictors", card["architecture"])
        weights = {}
        for member in range(card["members"]):
            network = build_seeded(lambda: settings.build(alphabet.size, 1, law.maximum), seed)
            weights |= {f"member_{member}.{k}": v for k, v in network.state_dict().items()}
            seed += 1
    # Far from uniform, so that designs differ and guidance has something to do.
    weights = {k: v * 4 if v.is_floating_point() and v.ndim > 1 else v for k, v in weights.items()}
    assert all(torch.isfinite(v).all() for v in weights.values())
    registry.save(name, card, weights, f"# {name}\n")


@pytest.fixture(scope="session")
def model_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: ``tiny`` (DNA, 20 letters), ``vari`` (12 to 20), ``pred``, ``prot``."""
    from designkit.alphabet import DNA, PROTEIN
    from designkit.registry.store import Registry

    root = tmp_path_factory.mktemp("models")
    registry = Registry(home=root, roots=())
    _save(registry, "tiny", "diffusion", DNA, {20: 100})
    _save(registry, "vari", "diffusion", DNA, {12: 30, 15: 20, 20: 50})
    _save(registry, "prot", "diffusion", PROTEIN, {9: 10})
    _save(
        registry,
        "pred",
        "predictor",
        DNA,
        {20: 100},
        members=2,
        outputs=[{"name": "activity", "unit": "a.u.", "direction": "maximize"}],
        statistics={"mean": [1.0], "scale": [2.0]},
        reverse_complement=True,
        flanks=["", ""],
    )
    return root


@pytest.fixture
def models(model_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny models can be named, from a root that is only read; runs use one thread."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setenv("DESIGNKIT_PATH", str(model_root))
    # What a message suggests shall not depend on the models that the package comes with.
    monkeypatch.setattr("designkit.registry.store.PACKAGED_ROOT", model_root / "none")
    return model_root


@pytest.fixture
def own_models(models: Path, home: Path) -> Path:
    """A copy of the tiny models in the home of this test, to be damaged: its ``models`` folder."""
    shutil.copytree(models / "models", home / "models")
    return home / "models"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Four good DNA sequences of 20 letters."""
    path = tmp_path / "good.fa"
    letters = ("ACGTACGTACGTACGTACGT", "GGGGGGGGGGCCCCCCCCCC", "A" * 20, "GATTACAGATTACAGATTAC")
    path.write_text("".join(f">s{n} note=n{n}\n{s}\n" for n, s in enumerate(letters, 1)))
    return path


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., str]:
    """Write a reward into a file: ``plugin("return [0.0] * len(sequences)")`` is its reference."""

    def write(body: str, name: str = "mine", options: str = "alphabet='dna'") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(
            "from designkit.rewards import reward\n\n"
            f"@reward({options})\n"
            f"def {name}(sequences: list[str]) -> list[float]:\n    {body}\n"
        )
        return f"{path}:{name}"

    return write


Starter = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Starter:
    """Start ``designkit ARGUMENTS`` as a process; it is killed when the test ends."""
    running: list[subprocess.Popen[bytes]] = []

    def start_program(*arguments: object, **options) -> subprocess.Popen[bytes]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], **options)
        running.append(process)
        return process

    yield start_program
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def shell(models: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a line of bash in which a failure anywhere in a pipe counts."""

    def run_line(line: str, **options) -> subprocess.CompletedProcess[str]:
        path = f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            capture_output=True,
            text=True,
            timeout=SECONDS_AT_MOST,
            check=False,
            env={**os.environ, "PATH": path},
            **options,
        )

    return run_line


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Return as soon as a condition holds; fail if the process ends first."""
    deadline = time.monotonic() + SECONDS_AT_MOST
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"ended too early with {process.returncode}: {process.communicate()[1]!r}")
        if time.monotonic() > deadline:
            pytest.fail("waited too long")
        time.sleep(0.005)


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; the exit code and what was said."""
    process.send_signal(number)
    _, said = process.communicate(timeout=SECONDS_AT_MOST)
    return process.returncode, said.decode()

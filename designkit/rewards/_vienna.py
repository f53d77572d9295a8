"""RNA folding with ViennaRNA: what its rewards share, and the processes that fold for them.

ViennaRNA keeps Python's lock while it folds, so only processes make use of several cores. A worker
is a Python of its own that knows nothing of the program that started it: scripts need no
``__main__`` guard, threads are not forked, and torch is not loaded. It reads sequences as JSON
lines, folds them one by one with the reward's ``fold`` and writes the values, as exact as they
were. When its input ends, it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field

from designkit.errors import RewardError
from designkit.rewards.base import Reward, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from types import ModuleType

FOLDING = "Lorenz et al. 2011, Algorithms Mol Biol 6:26 (ViennaRNA)"

# The defaults of RNAfold. What is left out comes from ViennaRNA's global variables, which other
# code may have changed.
_RNAFOLD: dict[str, float] = {
    "noLP": 0,
    "noGUclosure": 0,
    "special_hp": 1,
    "gquad": 0,
    "circ": 0,
    "logML": 0,
    "energy_set": 0,
    "uniq_ML": 0,
    "max_bp_span": -1,
    "min_loop_size": 3,
    "betaScale": 1.0,
    "pf_smooth": 1,
    "sfact": 1.07,
    "salt": 1.021,
}
# Up to this length no Boltzmann weight leaves the range of a float, from 0 to 100 degrees.
_SAFE_LENGTH = 200


def whole_number(value: Any) -> Any:
    """The number of digits in a reference, so that ``dangles=2`` is one of the choices."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class FoldingSettings(Settings):
    """The energy model, as in RNAfold.

    Args:
        temperature: degrees Celsius.
        dangles: energy of bases beside a helix: 2 always, 0 never.
        no_gu: no pairs of G and U.
    """

    temperature: float = Field(default=37.0, ge=0, le=100)
    dangles: Annotated[Literal[0, 2], BeforeValidator(whole_number)] = 2
    no_gu: bool = False


class FoldingReward(Reward):
    """A reward that folds each sequence by itself; T is read as U: the energies are those of RNA.

    Raises:
        RewardError: ViennaRNA is not installed.
    """

    settings: Any

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._library = _load_library(self.info.name)
        # Other versions of ViennaRNA may give other energies.
        version = f"{self.info.version}+viennarna{self._library.__version__}"
        self.info = replace(self.info, version=version)

    @abstractmethod
    def fold(self, sequence: str) -> list[Any]:
        """The outputs of one RNA sequence that is not refused, and what else is wanted of it."""

    def refusal(self, sequence: str) -> str | None:
        """Why a sequence has no score, None where it has one."""
        return None if sequence else "empty sequence"

    def score(self, sequences: list[str]) -> Scores:
        """(N, outputs), folded by several processes where that is faster."""
        import numpy as np

        errors = [self.refusal(sequence) for sequence in sequences]
        rows = [row for row, error in enumerate(errors) if error is None]
        values = np.full((len(sequences), len(self.info.outputs)), np.nan)
        if rows:
            values[rows] = WORKERS.fold(self, [sequences[row].replace("T", "U") for row in rows])
        return Scores(values, errors)

    def close(self) -> None:
        """End the processes; another reward that still folds starts them again."""
        WORKERS.close()

    def compound(self, sequence: str, *, pairs: bool = True) -> Any:
        """ViennaRNA's fold compound of a sequence, for this reward's energy model.

        Args:
            sequence: RNA.
            pairs: whether structures and pair probabilities are wanted, not only energies.
        """
        return self._library.fold_compound(sequence, self.model_details(pairs=pairs))

    def model_details(self, *, pairs: bool = True) -> Any:
        """ViennaRNA's details of this reward's energy model; see ``compound``."""
        return self._library.md(
            temperature=self.settings.temperature,
            dangles=self.settings.dangles,
            noGU=int(self.settings.no_gu),
            compute_bpp=int(pairs),
            backtrack=int(pairs),
            **_RNAFOLD,
        )


def minimum_energy(compound: Any) -> tuple[str, float]:
    """The most stable structure, empty without ``pairs``, and its energy in kcal/mol."""
    structure, energy = compound.mfe()
    return structure, exact(energy)


def exact(energy: float) -> float:
    """A structure's energy: a multiple of 0.01 kcal/mol, which ViennaRNA gives in float32."""
    return round(energy, 2) + 0.0


def ensemble_energy(compound: Any, minimum: float | None = None) -> float:
    """Free energy of the ensemble, ``-RT ln Z`` in kcal/mol; fills in the pair probabilities.

    Args:
        compound: the fold compound.
        minimum: its minimum free energy, where it is known.
    """
    if minimum is None and compound.length > _SAFE_LENGTH:
        minimum = minimum_energy(compound)[1]
    if minimum is not None:
        compound.exp_params_rescale(minimum)
    energy = float(compound.pf()[1])
    # What pf returns is float32; p(e) = exp((G - e) / RT) is not.
    return energy + thermal_energy(compound) * math.log(compound.pr_energy(energy))


def thermal_energy(compound: Any) -> float:
    """RT in kcal/mol at the temperature of the compound."""
    return float(compound.exp_params.kT) / 1000


def _load_library(reward: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's, on Python 3.12
            return import_module("RNA")
    except ImportError as error:
        raise RewardError(
            f"reward {reward!r} needs ViennaRNA: pip install 'designkit[rna]'"
        ) from error


class Workers:
    """Processes that fold, shared by all rewards of this one.

    Starting one takes 0.15 s, as long as folding 200 sequences of 50 bases, so none is started
    before as much time was spent on folding here. From then on, everything is folded by them.

    Args:
        size: most processes; by default the cores of this one, see ``available_cores``.
        patience: seconds of folding here before the first is started.
    """

    def __init__(self, size: int | None = None, patience: float = 0.2):
        self._size = size
        self._patience = patience
        self._spent = 0.0
        self._running: list[_Worker] = []

    def fold(self, reward: FoldingReward, sequences: Sequence[str]) -> list[list[Any]]:
        """The outputs of N sequences, in their order.

        Raises:
            RuntimeError: a process died; the others are ended too, and the next call has new ones.
        """
        size = self._size or available_cores()
        values: list[list[Any]] = []
        while len(values) < len(sequences) and (size == 1 or self._spent < self._patience):
            begin = time.perf_counter()
            values.append(reward.fold(sequences[len(values)]))
            self._spent += time.perf_counter() - begin
        rest = sequences[len(values) :]
        if not rest:
            return values
        try:
            return values + self._share_out(reward, rest, size)
        except BaseException:
            self.close(kill=True)
            raise

    def close(self, *, kill: bool = False) -> None:
        """End the processes; ``kill`` does not wait for what they are folding."""
        running, self._running = self._running, []
        for worker in running:
            worker.close(kill=kill)

    def forget(self) -> None:
        """Leave the processes to the one that this one was forked from."""
        for worker in self._running:
            worker.process.returncode = 0
        self._running = []

    def _share_out(
        self, reward: FoldingReward, sequences: Sequence[str], size: int
    ) -> list[list[Any]]:
        """Fold in chunks: small enough to be shared evenly, large enough to be worth sending."""
        step = min(64, -(-len(sequences) // (4 * size)))
        starts = list(range(0, len(sequences), step))[::-1]
        while len(self._running) < min(size, len(starts)):
            self._running.append(_Worker())
        values: list[list[Any]] = [[]] * len(sequences)
        with selectors.DefaultSelector() as answers:

            def send(worker: _Worker) -> None:
                start = starts.pop()
                worker.send(reward, sequences[start : start + step])
                answers.register(worker.output, selectors.EVENT_READ, (worker, start))

            for worker in self._running[: len(starts)]:
                send(worker)
            while answers.get_map():
                for key, _ in answers.select():
                    worker, start = key.data
                    answers.unregister(key.fileobj)
                    values[start : start + step] = worker.receive()
                    if starts:
                        send(worker)
        return values


class _Worker:
    """One process, with one chunk of sequences at a time."""

    def __init__(self) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        # A process group of its own: Ctrl-C is for the program, not for its workers.
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self._started = False

    def send(self, reward: FoldingReward, sequences: Sequence[str]) -> None:
        task = {
            "module": type(reward).__module__,
            "reward": type(reward).__qualname__,
            "settings": reward.settings.model_dump(mode="json"),
            "sequences": list(sequences),
        }
        with contextlib.suppress(BrokenPipeError):  # its output tells why
            self.input.write(json.dumps(task).encode() + b"\n")
            self.input.flush()

    def receive(self) -> list[list[Any]]:
        if not self._started:
            if self.output.readline() != b"ready\n":
                raise RewardError(f"a process that folds RNA did not start ({self._end()})")
            self._started = True
        line = self.output.readline()
        if not line.endswith(b"\n"):
            raise RuntimeError(f"the process that folded this died ({self._end()})")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        values: list[list[Any]] = answer["values"]
        return values

    def close(self, *, kill: bool) -> None:
        if kill:
            self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.input.close()
        self.output.close()
        self.process.wait()

    def _end(self) -> str:
        code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def available_cores() -> int:
    """SLURM_CPUS_PER_TASK, else the cores this process may use; no more than ``--threads``."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isdecimal() and int(given):
        cores = int(given)
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    # Commands hand --threads to torch; where torch is not loaded nobody asked for fewer.
    torch = sys.modules.get("torch")
    return min(cores, torch.get_num_threads()) if torch is not None else cores


def serve() -> NoReturn:
    """The life of a worker: values for sequences, line by line, until there are no more lines."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the program decides when its workers end
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints is no answer
    rewards: dict[str, FoldingReward] = {}
    with contextlib.suppress(BrokenPipeError):
        output.write(b"ready\n")
        output.flush()
        for line in sys.stdin.buffer:
            task = json.loads(line)
            sequences = task.pop("sequences")
            try:
                key = json.dumps(task)
                if key not in rewards:
                    reward_class = getattr(import_module(task["module"]), task["reward"])
                    rewards[key] = reward_class(**task["settings"])
                answer: dict[str, Any] = {"values": [rewards[key].fold(s) for s in sequences]}
            except Exception as problem:
                answer = {"error": f"{type(problem).__name__}: {problem}"}
            output.write(json.dumps(answer).encode() + b"\n")
            output.flush()
    os._exit(0)


WORKERS = Workers()
atexit.register(WORKERS.close)
os.register_at_fork(after_in_child=WORKERS.forget)

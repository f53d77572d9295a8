"""Devices, threads, precision, seeds, and the signals that stop a long run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from designkit.errors import BudgetExhausted, Interrupted, KeyboardInterrupted, UsageError

if TYPE_CHECKING:
    import torch

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def choose_device(name: str) -> torch.device:
    """The device that ``--device`` names.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto`` takes a GPU if there is
            one.

    Raises:
        UsageError: an unknown name, or a device that this machine does not have.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise UsageError(f"--device {name}: choose auto, cpu, cuda, cuda:N or mps")
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if int(number or 0) >= count:
        raise UsageError(f"--device {name}: this machine has {count} such devices")
    return torch.device(name)


def set_threads(threads: int | None) -> int:
    """Use so many CPU threads: ``--threads``, else SLURM_CPUS_PER_TASK, else all cores.

    Returns:
        The number in use.

    Raises:
        UsageError: SLURM_CPUS_PER_TASK is not a number.
    """
    import torch

    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if threads is None and given:
        if not given.isdecimal() or int(given) < 1:
            raise UsageError(f"SLURM_CPUS_PER_TASK is {given!r}, not a number; use --threads")
        threads = int(given)
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    torch.set_num_threads(threads)
    return threads


def choose_precision(name: str, device: torch.device, *, training: bool = False) -> str:
    """``fp32`` or ``bf16`` for ``auto``, ``fp32`` or ``bf16``.

    ``auto`` is bf16 on GPUs that compute in it, and, in training only, on CPUs that do: results of
    sampling on a CPU are exact in fp32 and are not given up unasked.
    """
    import torch

    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu" and training:
        has_bf16 = torch.backends.cpu.get_cpu_capability() == "AVX512" and _cpu_has_bf16()
        return "bf16" if has_bf16 else "fp32"
    return "fp32"


def _cpu_has_bf16() -> bool:
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def draw_seed(seed: int | None) -> int:
    """The given seed, or one drawn from the system."""
    return int.from_bytes(os.urandom(4), "big") if seed is None else seed


def parse_duration(text: str | None) -> float | None:
    """Seconds of ``90s``, ``30m``, ``2h`` or ``90``.

    Raises:
        UsageError: anything else.
    """
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise UsageError(f"--max-time {text}: give a time such as 90s, 30m or 2h")
    return seconds


class StopRequest:
    """Whether a run was asked to stop, by a signal or because its time is over.

    Args:
        seconds: time that the run may take, None for any.
    """

    def __init__(self, seconds: float | None = None):
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.signal_name = ""

    def __call__(self) -> bool:
        """True once the run should stop."""
        return bool(self.signal_name) or (
            self.deadline is not None and time.monotonic() >= self.deadline
        )

    @property
    def reason(self) -> str:
        """What asked, for messages."""
        return self.signal_name or "--max-time is over"


def what_ended(
    stopped: Interrupted | KeyboardInterrupt, request: StopRequest, kept: str
) -> Interrupted:
    """The error that a run which can be resumed ends with.

    Args:
        stopped: what the run was stopped by.
        request: to stop.
        kept: what is done, in words.
    """
    if isinstance(stopped, KeyboardInterrupt):
        return KeyboardInterrupted(f"Ctrl-C: {kept}")
    reason = stopped if isinstance(stopped, BudgetExhausted) else request.reason
    return type(stopped)(f"{reason}: {kept}")


@contextmanager
def interrupt_on_signals() -> Iterator[StopRequest]:
    """While inside, TERM, USR1 and USR2 end the run at once, as Ctrl-C does, but ``Interrupted``.

    For runs whose steps are long and that keep what they have written. What is inside should ask
    the request now and then: code of others may swallow any exception. Further signals while all
    is cleaned up are ignored.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        is_first = not request.signal_name
        request.signal_name = signal.Signals(number).name
        if is_first:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in STOPPING_SIGNALS}
    try:
        yield request
    except KeyboardInterrupt:
        if request():
            raise Interrupted(request.reason) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_on_signals(seconds: float | None = None) -> Iterator[StopRequest]:
    """While inside, TERM, USR1 and USR2 ask the run to stop instead of killing it."""
    request = StopRequest(seconds)

    def handle(number: int, frame: FrameType | None) -> None:
        request.signal_name = signal.Signals(number).name

    before = {number: signal.signal(number, handle) for number in STOPPING_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

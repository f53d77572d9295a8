"""Every error a user can meet, and the exit code it ends in.

::

    DesignkitError                  1   internal failure
    ├── UsageError                  2   wrong options, unknown names, refused outputs
    │   ├── ConfigurationError      2   problems in presets, configuration files, --set (all listed)
    │   └── OutputError             2   an output that exists or cannot be written
    ├── InputError                  3   bad input data: names file, record, position, letter
    ├── ArtifactError               4   a model or reward that is missing, corrupt or does not fit
    │   ├── ModelError              4
    │   ├── RewardError             4
    │   └── PluginError             4
    └── Interrupted                75   stopped by a signal or --max-time; --resume continues
        ├── BudgetExhausted        75   --max-evals is spent
        └── KeyboardInterrupted   130   Ctrl-C; --resume continues

Exit 0 is a complete run, 5 a run that finished although some items failed, 130 Ctrl-C.
Only ``cli.app.main`` turns an error into a message and an exit code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

EXIT_OK = 0
EXIT_SOME_ITEMS_FAILED = 5
EXIT_KEYBOARD_INTERRUPT = 130


class DesignkitError(Exception):
    """Base of all errors that are shown as one line instead of a traceback."""

    exit_code = 1


class UsageError(DesignkitError):
    """Options that contradict each other, an unknown name, an impossible request."""

    exit_code = 2


class ConfigurationError(UsageError):
    """One or more problems in presets, configuration files or ``--set`` values.

    Args:
        problems: one line each, already naming file and line.
    """

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class OutputError(UsageError):
    """An output that exists already, or that cannot be written."""


class InputError(DesignkitError):
    """Input data that cannot be used as it is."""

    exit_code = 3


class ArtifactError(DesignkitError):
    """A model or reward that is missing, corrupt, or does not fit the request."""

    exit_code = 4


class ModelError(ArtifactError):
    """A model that is unknown, incomplete, or whose files do not match their hashes."""


class RewardError(ArtifactError):
    """A reward that is unknown, cannot be loaded, or breaks the reward contract."""


class PluginError(ArtifactError):
    """A plugin other than a reward that cannot be loaded."""


class Interrupted(DesignkitError):  # noqa: N818 - a state, not a mistake
    """The run was stopped and can be resumed."""

    exit_code = 75


class BudgetExhausted(Interrupted):
    """The next batch would cost more reward evaluations than ``--max-evals`` allows."""


class KeyboardInterrupted(Interrupted):
    """Ctrl-C has ended a run that can be resumed."""

    exit_code = EXIT_KEYBOARD_INTERRUPT


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a message about an unknown name.

    Args:
        name: what was asked for.
        known: what there is.
        prefix: put before the suggestion, such as the path of a key.

    Returns:
        ``"; did you mean 'x'?"`` for the closest known name, or an empty string.
    """
    from difflib import get_close_matches

    spelt = {word.lower().replace("-", "_"): word for word in known}
    close = get_close_matches(name.lower().replace("-", "_"), spelt, n=1, cutoff=0.6)
    return f"; did you mean '{prefix}{spelt[close[0]]}'?" if close else ""

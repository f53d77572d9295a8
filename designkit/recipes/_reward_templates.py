"""``designkit rewards new``: a file with a reward that works, to be changed."""

from __future__ import annotations

import keyword
from pathlib import Path

from designkit.errors import OutputError, UsageError
from designkit.rewards import TABLE_COLUMNS

FUNCTION = '''\
"""NAME: say here in one line what it measures.

Try it:    designkit rewards check ./FILE:NAME
Use it:    designkit score sequences.fa --reward ./FILE:NAME
"""

from designkit.rewards import reward


# Change the alphabet (dna, rna, protein), the unit and the range (leave it out if there is none);
# add direction="minimize" where less is better, deterministic=False if two calls may differ.
@reward(alphabet="dna", unit="sites per 100 letters", range=(0, 100))
def NAME(sequences: list[str], box: str = "TATA") -> list[float]:
    """How often a box occurs.

    Args:
        sequences: N sequences; as many values must come out, in their order.
        box: the letters to look for. Parameters are given as NAME?box=CAAT.
    """
    # An exception, as for an empty sequence here, makes its text the reason for "no score".
    return [100 * sequence.count(box) / len(sequence) for sequence in sequences]
'''

CLASS = '''\
"""NAME: say here in one line what it measures.

Try it:    designkit rewards check ./FILE:CLASS
Use it:    designkit score sequences.fa --reward './FILE:CLASS?letters=GC'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.errors import RewardError
from designkit.rewards import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet


class CLASSSettings(Settings):
    """The parameters; each is given as CLASS?letters=GC&wanted=0.4.

    Args:
        letters: what is counted.
        wanted: share that is best, 0 to 1.
    """

    letters: str = "GC"
    wanted: float = Field(default=0.5, ge=0, le=1)


class CLASS(Reward):
    """1 - |share of the letters - wanted|; recorded beside it, the share itself."""

    # All that is known before one is made. The first output is the objective; change the version
    # whenever the same sequence may get another value.
    template = RewardInfo(
        name="NAME",
        version="1",
        alphabets=("dna", "rna"),
        outputs=(
            Output("NAME", unit="", direction="maximize", range=(0, 1)),
            Output("share", unit="fraction", range=(0, 1)),
        ),
        differentiable=True,
        citation="who defined it",
    )
    settings_type = CLASSSettings
    settings: CLASSSettings

    def bind(self, alphabet: Alphabet) -> None:
        """Hear which letters will come, before the first call; refuse what cannot be."""
        super().bind(alphabet)
        unknown = set(self.settings.letters) - set(alphabet.letters)
        if unknown:
            raise RewardError(f"reward 'NAME': {min(unknown)!r} is not {alphabet.name}")
        self._tokens = [alphabet.index[letter] for letter in self.settings.letters]

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) values in the order of the sequences; NaN and a reason where there is none."""
        import numpy as np  # heavy libraries are imported here, so that listing stays quick

        values = np.full((len(sequences), 2), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for row, sequence in enumerate(sequences):
            if not sequence:
                errors[row] = "empty sequence"
                continue
            share = sum(map(sequence.count, self.settings.letters)) / len(sequence)
            values[row] = 1 - abs(share - self.settings.wanted), share
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """The first output for letter probabilities, (B, L, K) to (B,), for gradients.

        ``valid`` (B, L) is False at positions that do not exist. Without this method, set
        ``differentiable=False`` above.
        """
        counted = probs[..., self._tokens].sum(-1)  # (B, L)
        if valid is None:
            share = counted.mean(1)
        else:
            share = (counted * valid).sum(1) / valid.sum(1)
        return 1 - (share - self.settings.wanted).abs()
'''


def begin_reward(name: str, target: str, *, as_class: bool, force: bool) -> tuple[Path, str]:
    """Write a reward to start from.

    Args:
        name: of the reward, a Python name.
        target: file, or existing folder for ``NAME.py``.
        as_class: the full contract instead of a function.
        force: replace an existing file.

    Returns:
        The file written, and the reference of its reward.

    Raises:
        UsageError: a name that no reward can have.
        OutputError: the file exists, or cannot be written.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name in TABLE_COLUMNS:
        raise UsageError(
            f"{name!r} cannot name a reward: letters, digits and _ only, and no word of Python or "
            f"column of designs ({', '.join(sorted(TABLE_COLUMNS))})"
        )
    path = Path(target)
    if path.is_dir():
        path /= f"{name}.py"
    if path.suffix != ".py":
        raise UsageError(f"{path}: the name of a reward's file ends in .py")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already; use --force to replace it")
    class_name = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    text = CLASS.replace("CLASS", class_name) if as_class else FUNCTION
    text = text.replace("FILE", path.name).replace("NAME", name)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    place = path if path.is_absolute() else f"./{path}"
    return path, f"{place}:{class_name if as_class else name}"

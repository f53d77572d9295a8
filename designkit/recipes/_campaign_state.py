"""The folder of a campaign: what was asked, what was measured, and what predicts.

``campaign.json`` is the campaign, and changes as a whole; what else lies in the folder counts only
as far as it names it. A command that is killed leaves the campaign as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from designkit.recipes._campaign_predictor import Fitted
    from designkit.recipes.campaign_settings import CampaignSettings, EnsembleSettings
    from designkit.registry.store import Registry

VERSION = 1
FILE = "campaign.json"
PREDICTOR = "predictor"


@dataclass(frozen=True)
class Asked:
    """A sequence that is to be measured.

    Attributes:
        id: of the sequence, ``b2_17`` for the 17th of the second batch.
        sequence: itself.
        batch: that asked for it, from 1.
        lineage: the input that it descends from.
    """

    id: str
    sequence: str
    batch: int
    lineage: int


@dataclass
class Campaign:
    """All that a campaign knows.

    Attributes:
        settings: of the first batch.
        model: reference and hash of the prior.
        seed: of everything random.
        inputs: that it started from, as ``Inputs`` has them.
        asked: sequences, in order.
        measured: labels by sequence; of sequences that were asked for, and of others.
        predictor: version of the predictor in the folder, 0 for none.
    """

    settings: dict[str, Any]
    model: dict[str, str]
    seed: int
    inputs: dict[str, Any]
    asked: list[Asked] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    predictor: int = 0

    @property
    def batches(self) -> int:
        """How many there were."""
        return self.asked[-1].batch if self.asked else 0

    @property
    def known(self) -> set[str]:
        """Sequences that are not asked for again."""
        return {one.sequence for one in self.asked} | set(self.measured)

    @property
    def waiting(self) -> int:
        """Sequences that were asked for and are not measured yet."""
        return sum(one.sequence not in self.measured for one in self.asked)

    def agreed_label(self, given: str | None) -> str:
        """The column of the values: the first that was ever named.

        Raises:
            UsageError: none was, or another one.
        """
        label: str | None = self.settings.get("label")
        if label is None and given is None:
            raise UsageError("which column holds the measured values? add --label COLUMN")
        if None not in (label, given) and label != given:
            raise UsageError(f"--label {given}: this campaign is about the column {label!r}")
        self.settings["label"] = given if label is None else label
        return str(self.settings["label"])

    def check_same(self, settings: CampaignSettings, model: dict[str, str], seed: int) -> None:
        """Refuse to go on with another campaign's settings.

        Raises:
            UsageError: names what differs.
        """
        before = type(settings).model_validate(self.settings).fixed
        now = {**settings.fixed, "model": model, "seed": seed}
        before |= {"model": self.model, "seed": self.seed}
        changed = sorted(key for key in {*now, *before} if now.get(key) != before.get(key))
        if changed:
            raise UsageError(
                f"--state: this campaign was started with another {', '.join(changed)}; leave that "
                "out, or start another campaign in another folder"
            )


class StateFolder:
    """Reads and writes the folder of a campaign.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str):
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def locked(self, *, create: bool) -> Iterator[None]:
        """Keep other commands out.

        Args:
            create: the folder where it is missing.

        Raises:
            UsageError: there is no such folder, or another command works on it.
            OutputError: it cannot be written.
        """
        from filelock import FileLock, Timeout

        try:
            if create:
                self.path.mkdir(parents=True, exist_ok=True)
            elif not (self.path / FILE).is_file():
                raise UsageError(f"--state {self}: no campaign there; start one with --ask NUMBER")
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as problem:
            raise UsageError(f"--state {self}: another command is working on it") from problem
        except (FileExistsError, NotADirectoryError, PermissionError) as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise OutputError(f"--state {self}: {reason}: {problem.filename}") from problem

    def read(self) -> Campaign | None:
        """The campaign; None where there is none yet.

        Raises:
            InputError: the file is damaged, or of a newer program.
        """
        file = self.path / FILE
        try:
            fields = json.loads(file.read_text(encoding="utf-8"))
            version = fields.pop("version")
            if version != VERSION:
                raise InputError(
                    f"{file}: of version {version}; this program reads {VERSION}: update designkit"
                )
            fields["asked"] = [Asked(**one) for one in fields["asked"]]
            return Campaign(**fields)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
            raise InputError(f"{file}: damaged: {problem}") from problem

    def write(self, campaign: Campaign) -> None:
        """Replace the campaign."""
        from designkit.io.provenance import write_json_atomic

        write_json_atomic(self.path / FILE, {"version": VERSION, **asdict(campaign)})

    def save_predictor(self, fitted: Fitted, rows: int, settings: EnsembleSettings) -> int:
        """Store a predictor beside the others; its version."""
        card, weights = fitted.stored(rows, settings)
        readme = f"# {PREDICTOR}\n\n{card['summary']}\n"
        return self._registry().save(PREDICTOR, card, weights, readme).version

    def predictor_ref(self, version: int) -> str:
        """What names a predictor of the folder, for ``--reward model:...`` too."""
        return str(self.path / "models" / PREDICTOR / str(version))

    def _registry(self) -> Registry:
        from designkit.registry.store import Registry

        return Registry(home=self.path, roots=())

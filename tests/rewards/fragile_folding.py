"""A reward that kills the process it runs in, for sequences with a run of G."""

from __future__ import annotations

import os
import signal

from designkit.rewards._vienna import FoldingReward, FoldingSettings
from designkit.rewards.base import Output, RewardInfo


class FragileFolding(FoldingReward):
    """Length, or death."""

    template = RewardInfo(name="fragile", alphabets=("rna",), outputs=(Output("fragile"),))
    settings_type = FoldingSettings

    def fold(self, sequence: str) -> list[float]:
        if "GGGG" in sequence:
            os.kill(os.getpid(), signal.SIGKILL)
        if "CCCC" in sequence:
            raise ValueError("four C")
        return [float(len(sequence))]

"""What is wanted: the reward contract and one file per built-in reward."""

from designkit.rewards._batches import score_all
from designkit.rewards._cache import ScoreCache
from designkit.rewards._conformance import check_reward, time_reward
from designkit.rewards._conformance.case import Finding
from designkit.rewards._engine import INFEASIBLE, RewardEngine, Scored
from designkit.rewards._function import FunctionReward, reward
from designkit.rewards._loader import load_reward
from designkit.rewards._part import WeightedReward
from designkit.rewards.base import (
    Output,
    Reward,
    RewardInfo,
    Scores,
)

__all__ = [
    "INFEASIBLE",
    "Finding",
    "FunctionReward",
    "Output",
    "Reward",
    "RewardEngine",
    "RewardInfo",
    "ScoreCache",
    "Scored",
    "Scores",
    "WeightedReward",
    "check_reward",
    "load_reward",
    "reward",
    "score_all",
    "time_reward",
]

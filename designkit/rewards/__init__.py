"""What is wanted: the reward contract, several rewards as one, and one file per built-in reward."""

from designkit.rewards._aggregation import Aggregation
from designkit.rewards._batches import score_all
from designkit.rewards._cache import ScoreCache
from designkit.rewards._conformance import check_reward, iterate_checks, time_reward
from designkit.rewards._conformance.case import Finding
from designkit.rewards._engine import INFEASIBLE, RewardEngine, Scored
from designkit.rewards._function import FunctionReward, reward
from designkit.rewards._identity import sources
from designkit.rewards._loader import (
    GROUP,
    PREFIXES,
    load_reward,
    split_reference,
    written_reference,
)
from designkit.rewards._part import TABLE_COLUMNS, Role, WeightedReward
from designkit.rewards._transforms import AnyTransform, parse_transform
from designkit.rewards.base import (
    RUN_KEYS,
    Direction,
    Output,
    Reward,
    RewardInfo,
    Scores,
    StandIn,
)

__all__ = [
    "GROUP",
    "INFEASIBLE",
    "PREFIXES",
    "RUN_KEYS",
    "TABLE_COLUMNS",
    "Aggregation",
    "AnyTransform",
    "Direction",
    "Finding",
    "FunctionReward",
    "Output",
    "Reward",
    "RewardEngine",
    "RewardInfo",
    "Role",
    "ScoreCache",
    "Scored",
    "Scores",
    "StandIn",
    "WeightedReward",
    "check_reward",
    "iterate_checks",
    "load_reward",
    "parse_transform",
    "reward",
    "score_all",
    "sources",
    "split_reference",
    "time_reward",
    "written_reference",
]

"""What is wanted: the reward contract and one file per built-in reward."""

from designkit.rewards.base import Output, Reward, RewardInfo, Scores, reward

__all__ = ["Output", "Reward", "RewardInfo", "Scores", "reward"]

"""The guard as a reward: what judges say of what a policy model wrote, and the numbers made of it."""

from guardrail.training.rewards.rewarder import Rewarder
from guardrail.training.rewards.values import REWARDS, Completion, Opinion, RewardKind, guard_only, mixed

__all__ = ["REWARDS", "Completion", "Opinion", "RewardKind", "Rewarder", "guard_only", "mixed"]

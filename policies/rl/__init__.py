"""Reinforcement learning in torch: proximal policy optimisation of any roles, alone, together or against a pool."""

from .bilevel import leader_follower
from .pool import Pool, fictitious_play
from .ppo import PPO
from .training import Stopped, train

__all__ = ["PPO", "Pool", "Stopped", "fictitious_play", "leader_follower", "train"]

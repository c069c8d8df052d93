"""Proximal Policy Optimization: network, rollout, advantages, update; functions with everything passed in.

Knows nothing of files or studies. `train` moves an `Agent`; `agent_state` and `restore_agent` turn it into named
tensors and back; `policy` and `outputs` ask it.
"""

from grownn_hpo.ppo.agent import Agent, CheckpointMismatch, agent_state, new_agent, outputs, policy, restore_agent
from grownn_hpo.ppo.divergence import Diverged
from grownn_hpo.ppo.environments import Environments, Episode, Step
from grownn_hpo.ppo.loss import Losses
from grownn_hpo.ppo.network import ActorCritic
from grownn_hpo.ppo.train import Progress, train

__all__ = [
    "ActorCritic",
    "Agent",
    "CheckpointMismatch",
    "Diverged",
    "Environments",
    "Episode",
    "Losses",
    "Progress",
    "Step",
    "agent_state",
    "new_agent",
    "outputs",
    "policy",
    "restore_agent",
    "train",
]

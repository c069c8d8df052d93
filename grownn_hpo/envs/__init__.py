"""The tasks: MiniHack rooms, MuJoCo's Ant and any Gymnasium id, behind one small interface.

Importing this room imports neither gymnasium, minihack, nle nor mujoco: they load when an environment is built.
"""

from grownn_hpo.envs.cells import varying_cells
from grownn_hpo.envs.episodes import Episodes, play, random_policy
from grownn_hpo.envs.opening import describe, modules
from grownn_hpo.envs.vector import Episode, Step, VectorEnv

__all__ = ["Episode", "Episodes", "Step", "VectorEnv", "describe", "modules", "play", "random_policy", "varying_cells"]

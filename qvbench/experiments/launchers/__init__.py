"""Where the runs of a sweep are executed, by name."""

from qvbench.experiments.launchers.interface import Launcher
from qvbench.experiments.launchers.local import Local
from qvbench.experiments.launchers.ray import Ray
from qvbench.experiments.launchers.slurm import Slurm
from qvbench.registry import Registry

LAUNCHERS: Registry[Launcher] = Registry("launcher")
LAUNCHERS.register("local", Local)
LAUNCHERS.register("ray", Ray)
LAUNCHERS.register("slurm", Slurm)

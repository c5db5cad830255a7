"""Where the runs of a sweep are executed, by name."""

from qvbench.registry import Registry
from qvbench.sweep.launchers.interface import Launcher
from qvbench.sweep.launchers.local import Local
from qvbench.sweep.launchers.ray import Ray
from qvbench.sweep.launchers.slurm import Slurm

LAUNCHERS: Registry[Launcher] = Registry("launcher")
LAUNCHERS.register("local", Local)
LAUNCHERS.register("ray", Ray)
LAUNCHERS.register("slurm", Slurm)

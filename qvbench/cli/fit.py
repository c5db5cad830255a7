"""The commands that run a config: ``fit``, ``validate``, ``test`` and ``predict``."""

from __future__ import annotations

import warnings
from pathlib import Path

from qvbench.cli.arguments import option_values
from qvbench.cli.experiment import ExperimentCLI
from qvbench.runs import folder as run_folder
from qvbench.training.process import cache_few_kernels, keep_freed_memory, set_up_logging


def run(command: str, args: list[str]) -> int:
    """Run ``fit``, ``validate``, ``test`` or ``predict`` with the arguments after its name."""
    set_up_logging()
    if command != "fit":  # only training needs the callbacks whose states a checkpoint has
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
    keep_freed_memory()
    cache_few_kernels()
    ExperimentCLI(args=[command, *_with_config_of_checkpoint(args)])
    return 0


def _with_config_of_checkpoint(args: list[str]) -> list[str]:
    """A checkpoint without a config brings the one that its run left beside it."""
    checkpoints = option_values(args, "--ckpt_path")
    if option_values(args, "--config", "-c") or not checkpoints:
        return args
    folder = run_folder.folder_of(Path(checkpoints[-1]))
    return args if folder is None else ["--config", str(folder / run_folder.CONFIG), *args]

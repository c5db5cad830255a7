"""The commands that run a config: ``fit``, ``validate``, ``test`` and ``predict``."""

from __future__ import annotations

import warnings
from pathlib import Path

from qvbench.cli.arguments import option_values
from qvbench.cli.experiment import Experiment, check_checkpoint
from qvbench.runs import folder as run_folder
from qvbench.training import tracking
from qvbench.training.process import cache_few_kernels, keep_freed_memory, set_up_logging

EXAMPLES = 3


def run(command: str, args: list[str]) -> int:
    """Run ``fit``, ``validate``, ``test`` or ``predict`` with the arguments after its name."""
    set_up_logging()
    keep_freed_memory()
    cache_few_kernels()
    if command != "fit":  # only training needs the callbacks whose states a checkpoint has
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
    experiment = Experiment(command, _with_config_of_checkpoint(args))
    experiment.run()
    if command == "fit" and experiment.folder is not None and experiment.trainer.is_global_zero:
        _print_summary(experiment, experiment.folder)
        tracking.say_how_to_sync(experiment.trainer.loggers)
    return 0


def _with_config_of_checkpoint(args: list[str]) -> list[str]:
    """A checkpoint without a config brings the one that its run left beside it."""
    checkpoints = option_values(args, "--ckpt_path")
    if option_values(args, "--config", "-c") or not checkpoints or checkpoints[-1] == "last":
        return args
    check_checkpoint(checkpoints[-1])
    folder = run_folder.folder_of(Path(checkpoints[-1]))
    return args if folder is None else ["--config", str(folder / run_folder.CONFIG), *args]


def _print_summary(experiment: Experiment, folder: Path) -> None:
    """What a finished training shows: examples, the metric that counts, where its files are."""
    metrics = experiment.trainer.callback_metrics
    print()
    for example in experiment.model.examples(EXAMPLES):
        print("".join(f"{name:<12}{text}\n" for name, text in example.items()))
    metric = experiment.model.primary_metric
    if metric.name in metrics:
        print(f"{metric.label} {float(metrics[metric.name]):.2f} {metric.unit}".rstrip())
    here = Path.cwd()
    place = folder.relative_to(here) if here in folder.parents else folder
    print(f"curves      {place / run_folder.CURVES}")
    print(f"record      {place / run_folder.RECORD}")
    for checkpoint in sorted(folder.glob("checkpoints/*.ckpt")):
        print(f"checkpoint  {place / checkpoint.relative_to(folder)}")

"""The verbs that run a config: ``fit``, ``validate``, ``test`` and ``predict``."""

from __future__ import annotations

from pathlib import Path

from qvbench.cli.arguments import option_values
from qvbench.cli.experiment import ExperimentCLI
from qvbench.runs import folder as run_folder
from qvbench.training.allocator import cache_few_kernels, keep_freed_memory
from qvbench.training.messages import set_up_logging


def fit(words: list[str]) -> int:
    """Train; continue a run with ``--ckpt_path PATH`` or ``last``."""
    return _run("fit", words)


def validate(words: list[str]) -> int:
    """Validate a checkpoint."""
    return _run("validate", words)


def test(words: list[str]) -> int:
    """Translate the test set with a checkpoint and score it."""
    return _run("test", words)


def predict(words: list[str]) -> int:
    """Translate the test set with a checkpoint into a file."""
    return _run("predict", words)


def _run(verb: str, words: list[str]) -> int:
    set_up_logging()
    keep_freed_memory()
    cache_few_kernels()
    ExperimentCLI(args=[verb, *_with_config_of_checkpoint(words)])
    return 0


def _with_config_of_checkpoint(words: list[str]) -> list[str]:
    """A checkpoint without a config brings the one that its run left beside it."""
    checkpoints = option_values(words, "--ckpt_path")
    if option_values(words, "--config", "-c") or not checkpoints:
        return words
    folder = run_folder.folder_of(Path(checkpoints[-1]))
    return words if folder is None else ["--config", str(folder / run_folder.CONFIG), *words]

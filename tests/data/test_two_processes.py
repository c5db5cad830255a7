"""Two processes over gloo and an evaluation set that they cannot share: one line, no hanging."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 600  # a hang takes for ever, a busy machine two minutes


def qvbench(folder: Path, *args: str) -> tuple[int, str]:
    """Exit status and output of a command; a hanging one is killed with its children."""
    command = [sys.executable, "-m", "qvbench", *args, "--trainer.default_root_dir", str(folder)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"still running after {SECONDS} seconds: {process.communicate()[0]}")
    return process.returncode, output


@pytest.mark.integration
@pytest.mark.slow
def test_fewer_validation_pairs_than_processes_are_one_line(tmp_path: Path) -> None:
    """Catches a rank without batches that skips validation while the others wait for it."""
    status, output = qvbench(
        tmp_path,
        *("fit", "--config", "tiny/qv.yaml", "--trainer.max_steps", "2"),
        *("--trainer.val_check_interval", "1", "--trainer.devices", "2"),
        *("--trainer.strategy", "ddp", "--data.merges", "50"),
        *("--data.corpus.init_args.train_pairs", "300", "--data.corpus.init_args.val_pairs", "1"),
        *("--data.cache_dir", str(tmp_path / "cache")),
    )
    assert status == 2, output
    assert "1 evaluation pairs are too few for 2 processes" in output

"""The mean of the last validations' weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from qvbench.errors import UserError
from qvbench.training.callbacks import CheckpointAveraging, mean_of
from tests.tasks.conftest import data, make_task, trainer  # noqa: F401


def test_the_mean_is_that_of_the_last_snapshots(data, trainer, tmp_path: Path):  # noqa: F811
    """One validation too many or too few, or a run that goes on with the averaged weights."""
    kept: list[dict[str, torch.Tensor]] = []

    class Averaging(CheckpointAveraging):
        def on_validation_end(self, trainer, pl_module) -> None:
            super().on_validation_end(trainer, pl_module)
            kept.append({k: v.clone() for k, v in pl_module.state_dict().items()})

    task = make_task()
    run = trainer(
        max_steps=8,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        callbacks=[Averaging(last=3)],
    )
    run.fit(task, datamodule=data())
    assert len(kept) == 4
    assert len(list((tmp_path / "averaging").glob("*.pt"))) == 3
    file = tmp_path / "checkpoints" / "averaged.ckpt"
    averaged = torch.load(file, weights_only=True)["state_dict"]
    for name, value in averaged.items():
        expected = sum(state[name].double() for state in kept[1:]) / 3
        torch.testing.assert_close(value, expected.to(value.dtype), rtol=1e-6, atol=1e-7)
        assert torch.equal(task.state_dict()[name], kept[-1][name])


@pytest.mark.parametrize(
    ("changed", "files"),
    [
        ({}, 1),
        ({"sanity_checking": True}, 0),
        ({"fast_dev_run": True}, 0),
        ({"state": SimpleNamespace(fn="validate")}, 0),
        ({"is_global_zero": False}, 0),
    ],
)
def test_only_training_leaves_weights_and_only_once(changed, files, tmp_path: Path):
    """Untrained weights or a later `validate` in the mean, all devices writing one file, or a trial
    run that leaves files in the current folder."""
    settings = {
        "sanity_checking": False,
        "fast_dev_run": False,
        "state": SimpleNamespace(fn="fit"),
        "is_global_zero": True,
        "global_step": 7,
        "default_root_dir": tmp_path,
    }
    run = SimpleNamespace(**{**settings, **changed})
    CheckpointAveraging().on_validation_end(run, torch.nn.Linear(2, 2))
    assert len(list(tmp_path.rglob("*.*"))) == files


def test_whole_numbers_are_those_of_the_last(tmp_path: Path):
    """A counter that is averaged is no counter."""
    files = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for count, file in enumerate(files, 3):
        torch.save({"w": torch.tensor([float(count)]), "n": torch.tensor(count)}, file)
    mean = mean_of(files)
    assert mean["w"].item() == 3.5
    assert mean["n"].item() == 4


def test_none_cannot_be_averaged():
    """A mean of nothing, found when training is over."""
    with pytest.raises(UserError, match="last must be at least 1"):
        CheckpointAveraging(last=0)

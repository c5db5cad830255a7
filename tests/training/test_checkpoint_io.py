"""Checkpoint files: whole or not there, verified when read, never run as code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from qvbench.errors import UserError
from qvbench.training import checkpoints
from qvbench.training.checkpoints import SafeCheckpointIO, newest_whole, read_checkpoint
from qvbench.training.machine import RunFault


def content(step: int, **more: Any) -> dict[str, Any]:
    weights = torch.full((1000,), float(step))
    return {
        "global_step": step,
        "state_dict": {"w": weights},
        "optimizer_states": [],
        "qvbench": {},
        "pytorch-lightning_version": "2.6",
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's checkpoints after three validations."""
    made = tmp_path / "checkpoints"
    io = SafeCheckpointIO()
    for step in (100, 200, 300):
        io.save_checkpoint(content(step), made / "last.ckpt")
    return made


def step_of(file: Path) -> int:
    return int(read_checkpoint(file)["global_step"])


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def damage(file: Path) -> None:
    """Change one bit in the midst of the weights."""
    raw = bytearray(file.read_bytes())
    raw[raw.find(torch.full((1,), 300.0).numpy().tobytes() * 9) + 401] ^= 4
    file.write_bytes(raw)


def test_the_one_before_is_kept(folder: Path) -> None:
    assert names(folder) == ["last.ckpt", "previous.ckpt"]
    assert (step_of(folder / "last.ckpt"), step_of(folder / "previous.ckpt")) == (300, 200)


def test_the_same_step_again_is_not_the_one_before(folder: Path) -> None:
    """Catches a last and a previous that are both of one step, so that one fault takes both."""
    io = SafeCheckpointIO()
    io.load_checkpoint(folder / "last.ckpt")
    io.save_checkpoint(content(300), folder / "last.ckpt")
    assert step_of(folder / "previous.ckpt") == 200


def test_a_damaged_one_does_not_replace_the_one_before(folder: Path) -> None:
    """Catches a run, taken up from the one before, that throws that away with its first save."""
    damage(folder / "last.ckpt")
    SafeCheckpointIO().save_checkpoint(content(250), folder / "last.ckpt")
    assert (step_of(folder / "last.ckpt"), step_of(folder / "previous.ckpt")) == (250, 200)


def test_one_wrong_bit_is_found_and_the_way_out_named(folder: Path) -> None:
    """Catches torch's reader, which returns weights with a wrong bit and says nothing."""
    damage(folder / "last.ckpt")
    torch.load(folder / "last.ckpt", weights_only=True)
    with pytest.raises(UserError) as caught:
        read_checkpoint(folder / "last.ckpt")
    other = folder / "previous.ckpt"
    assert "damaged (the checksum of" in str(caught.value)
    assert f"`--ckpt_path {other}` is whole (step 200)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_file_may_lie_beside_a_damaged_one(folder: Path) -> None:
    """Catches a traceback from a look at the neighbours, and a neighbour that is no way out."""
    damage(folder / "last.ckpt")
    torch.save({"x": Path("a")}, folder / "evil.ckpt")
    torch.save([1], folder / "list.ckpt")
    with zipfile.ZipFile(folder / "zip.ckpt", "w") as archive:
        archive.writestr("a", "b")
    (folder / "empty.ckpt").touch()
    (folder / "folder.ckpt").mkdir()
    (folder / "gone.ckpt").symlink_to(folder / "nowhere")
    for file in folder.iterdir():
        if file.name not in ("last.ckpt", "gone.ckpt"):
            os.utime(file, (0, 2**32 if file.name != "previous.ckpt" else 0))
    with pytest.raises(UserError, match=r"damaged .*previous\.ckpt` is whole"):
        read_checkpoint(folder / "last.ckpt")
    (folder / "previous.ckpt").unlink()
    with pytest.raises(UserError, match=r"give a \.ckpt file that `qvbench fit` wrote"):
        read_checkpoint(folder / "last.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_file_that_was_cut_off(folder: Path, share: float) -> None:
    file = folder / "last.ckpt"
    raw = file.read_bytes()
    file.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(UserError, match=r"cut off.*previous\.ckpt` is whole"):
        read_checkpoint(file)


def test_the_newest_whole_one_is_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "qvbench")
    damage(folder / "last.ckpt")
    weights_alone = {"qvbench": {}, "pytorch-lightning_version": "2.6", "global_step": 900}
    torch.save(weights_alone, folder / "averaged.ckpt")
    assert newest_whole(folder.glob("*.ckpt")) == folder / "previous.ckpt"
    assert "last.ckpt: not a checkpoint, or damaged" in caplog.text


def test_no_code_runs(folder: Path) -> None:
    """Catches a load with weights_only=False: of a file that somebody sends."""
    mark = folder / "code_ran"

    class Attack:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    evil = folder / "last.ckpt"
    torch.save(content(400, callbacks={"x": Attack()}), evil)
    for tensors in (True, False):
        with pytest.raises(UserError, match=r"mkdir.*only plain data is loaded") as caught:
            read_checkpoint(evil, tensors)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        SafeCheckpointIO().load_checkpoint(evil, weights_only=False)  # as Lightning may ask
    assert not mark.exists()


def test_what_cannot_be_loaded_again_is_not_written(folder: Path) -> None:
    """Catches a callback whose state proves unreadable when the run is resumed, hours later."""
    with pytest.raises(RunFault, match=r"PosixPath.*callback"):
        SafeCheckpointIO().save_checkpoint(
            content(400, callbacks={"x": Path("a")}), folder / "last.ckpt"
        )
    assert names(folder) == ["last.ckpt", "previous.ckpt"]
    assert step_of(folder / "last.ckpt") == 300


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is full")
def test_a_full_disk_leaves_what_was_there(folder: Path) -> None:
    """Catches a half file, or the old one gone; the error is the kernel's own."""
    (folder / "last.ckpt.partial").symlink_to("/dev/full")
    with pytest.raises(RunFault, match=r"last\.ckpt: the disk is full; the checkpoint before"):
        SafeCheckpointIO().save_checkpoint(content(400), folder / "last.ckpt")
    assert names(folder) == ["last.ckpt", "previous.ckpt"]
    assert (step_of(folder / "last.ckpt"), step_of(folder / "previous.ckpt")) == (300, 200)


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in the way")
    with pytest.raises(RunFault, match="cannot be written") as caught:
        SafeCheckpointIO().save_checkpoint(content(1), tmp_path / "checkpoints" / "last.ckpt")
    assert "\n" not in str(caught.value)


def test_without_hard_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(checkpoints.os, "link", refuse)
    SafeCheckpointIO().save_checkpoint(content(400), folder / "last.ckpt")
    assert (step_of(folder / "last.ckpt"), step_of(folder / "previous.ckpt")) == (400, 300)
    assert names(folder) == ["last.ckpt", "previous.ckpt"]


def test_a_foreign_checkpoint(folder: Path) -> None:
    torch.save({"state_dict": {}}, folder / "foreign.ckpt")
    with pytest.raises(UserError, match="not one that `qvbench fit` wrote"):
        read_checkpoint(folder / "foreign.ckpt")

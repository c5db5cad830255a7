"""The folder of a run: a new one for each, found again from its checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qvbench.errors import UserError
from qvbench.runs.folder import (
    check_writable,
    checked_name,
    create_folder,
    folder_of,
    run_group,
    write_text,
)


def test_folders_are_numbered(tmp_path: Path) -> None:
    """Catches a second run that writes over the first."""
    names = [create_folder(tmp_path, "tiny-qvka", "seed-0").name for _ in range(3)]
    assert names == ["seed-0", "seed-0-2", "seed-0-3"]
    assert create_folder(tmp_path, "tiny-qvka", "seed-1").name == "seed-1"


def test_a_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback, a training that cannot be saved, and a command that tries numbers for
    ever where a link to another disk leads nowhere."""
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot make the run's folder"):
        create_folder(tmp_path, "tiny", "seed-0")

    for link in (tmp_path / "moved" / "runs", tmp_path / "group" / "runs" / "tiny"):
        link.parent.mkdir(parents=True)
        link.symlink_to("nowhere")
        with pytest.raises(UserError, match="cannot make the run's folder"):
            create_folder(tmp_path / link.relative_to(tmp_path).parts[0], "tiny", "seed-0")

    check_writable(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_a_name_of_a_run_is_one_folder(name: str) -> None:
    """Catches runs written outside the output folder, or where no report looks."""
    with pytest.raises(UserError, match="--name"):
        checked_name(name)
    assert checked_name("mechanisms-qv") == "mechanisms-qv"


def test_names_and_places(tmp_path: Path) -> None:
    """Catches a test whose scores go into another run's record."""
    assert run_group("tiny/qvka.yaml") == "tiny-qvka"
    assert run_group("qvka.yaml") == "qvka"
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    assert folder_of(checkpoint) is None
    (tmp_path / "run.json").write_text("{}")
    assert folder_of(checkpoint) == tmp_path


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Catches half a record after a crash, and a leftover beside it."""
    file = tmp_path / "run.json"
    write_text(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "new \ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]

"""Files that are none of ours, wherever a command reads one: status 2 and one line, no hang."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Answer

DEEP = "[" * 5000
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


def _torch_file(content: object) -> Callable[[Path], None]:
    return lambda file: torch.save(content, file)


def _truncated(file: Path) -> None:
    torch.save({"qvbench": {}, "weights": torch.zeros(10_000)}, file)
    file.write_bytes(file.read_bytes()[:20_000])


def _archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "not a checkpoint")


FILES: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "empty": Path.touch,
    "noise": lambda file: file.write_bytes(bytes(range(256)) * 64),
    "latin1": lambda file: file.write_bytes("größe: 3\n".encode("latin-1")),
    "utf16": lambda file: file.write_bytes("model: 3\n".encode("utf-16")),
    "list": lambda file: file.write_text("- model\n- data\n"),
    "number": lambda file: file.write_text("3\n"),
    "deep": lambda file: file.write_text(DEEP),
    "deep_mapping": lambda file: file.write_text("model: " + "{a: " * 5000),
    "aliases": lambda file: file.write_text(LAUGHS),
    "circle": lambda file: file.write_text("model: &a\n  attention: *a\n"),
    "two_documents": lambda file: file.write_text("model: 3\n---\ndata: 3\n"),
    "python_object": lambda file: file.write_text("model: !!python/object/apply:os.getcwd []\n"),
    "impossible_date": lambda file: file.write_text("model: 2026-13-45\n"),
    "json": lambda file: file.write_text('{"id": "x", "status": "finished"}'),
    "pickle": lambda file: file.write_bytes(pickle.dumps({"model": print})),
    "archive": _archive,
    "truncated": _truncated,
    "tensor": _torch_file(torch.zeros(3)),
    "other_program": _torch_file({"state_dict": {}, "epoch": 3}),
    "nearly_ours": _torch_file({"state_dict": {}, "qvbench": {"config": "model: 3"}}),
    "not_a_mapping": _torch_file({"state_dict": {}, "qvbench": 3}),
    "loop": lambda file: file.symlink_to(file),
    "pipe": os.mkfifo,
}

# Commands that read a file; a checkpoint and a config are asked for in every way that there is.
COMMANDS = {
    "--checkpoint": ("translate", "--checkpoint", "{}", "--input", "in.txt"),
    "--checkpoint of generate": ("generate", "--checkpoint", "{}", "--prompt", "a"),
    "--ckpt_path of fit": ("fit", "--config", "tiny.yaml", "--ckpt_path", "{}"),
    "--ckpt_path of test": ("test", "--ckpt_path", "{}", "--config", "tiny.yaml"),
    "--ckpt_path alone": ("test", "--ckpt_path", "{}"),
    "--config": ("fit", "--config", "{}"),
    "--config of profile": ("profile", "--config", "{}", "--repeats", "0"),
    "--suite": ("sweep", "--suite", "{}", "--dry_run"),
    "a fragment": ("fit", "--config", "tiny.yaml", "--model.attention", "{}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_foreign_file_is_one_line(
    command: str, tiny: Path, here: Path, qvbench: Callable[..., Answer]
) -> None:
    """Catches a traceback, a hang, a page of messages, or code of the file that is run."""
    (here / "in.txt").write_text("a\n")
    faults = []
    for name, make in FILES.items():
        file = here / f"{name}.yaml"
        make(file)
        try:
            answer = qvbench(*(arg.format(file.name) for arg in COMMANDS[command]))
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__}: {error}")
            continue
        named = rf"\b{name}\.yaml|model\.attention" if command == "a fragment" else rf"{name}\.yaml"
        lines = answer.err.strip().splitlines()
        if answer.status != 2 or len(lines) != 1 or not re.search(named, lines[0]):
            faults.append(f"{name}: status {answer.status}, {lines}")
    assert not faults, "\n".join(faults)
    assert not list(here.glob("runs/*/*"))

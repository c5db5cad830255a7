"""One virtual environment per peer, in ``.peers/`` at the root of the repository.

    python -m benchmarks.peers.environments            # all of them
    python -m benchmarks.peers.environments opennmt    # this one

One that was made with the same requirements is left alone. Packages that the suite uses too have
the versions of ``constraints.txt``; the others are pinned here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".peers"
RECORD = "environment.json"


class Requirements(NamedTuple):
    """What an environment is made of.

    Attributes:
        steps: arguments of one ``pip install`` after the other.
        stand_ins: empty modules, for imports that are never used.
    """

    steps: tuple[tuple[str, ...], ...]
    stand_ins: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As a finished environment records it."""
        return json.dumps(self, indent=1) + "\n"


# Alone and pinned, torch is settled before anything else asks for it: where there is a build for
# this machine's CPU, pip takes that one.
TORCH = ("torch==2.13.0",)

# OpenNMT-py's own list asks for an older PyTorch, so it comes without; this is what it imports.
OPENNMT_NEEDS = (
    "numpy",
    "pyyaml",
    "six",
    "tensorboard",
    "sacrebleu",
    "setuptools",
    "ConfigArgParse==1.9.0",
    "pyonmttok==1.38.1",
    "pyahocorasick==2.3.1",
    "RapidFuzz==3.14.6",
    "fasttext-wheel==0.9.2",
)

ENVIRONMENTS = {
    "opennmt": Requirements(
        (TORCH, OPENNMT_NEEDS, ("--no-deps", "OpenNMT-py==3.5.1")), stand_ins=("spacy",)
    ),
    "marian": Requirements((TORCH, ("numpy", "transformers"))),
    "ctranslate2": Requirements((("numpy", "pyyaml", "setuptools", "ctranslate2==4.8.5"),)),
}
SHARED = {"torch_transformer": "marian"}
"""Peers that run in another's environment."""
PEERS = (*ENVIRONMENTS, *SHARED)


def folder_of(peer: str) -> Path:
    """A peer's environment, whether or not it has been made."""
    return FOLDER / SHARED.get(peer, peer)


def python_of(peer: str) -> Path:
    """The interpreter that runs a peer."""
    return folder_of(peer) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def is_made(peer: str) -> bool:
    """Whether a peer's environment is there and complete, by the present requirements."""
    record, wanted = folder_of(peer) / RECORD, ENVIRONMENTS[SHARED.get(peer, peer)].to_json()
    made = record.exists() and python_of(peer).exists()
    return made and record.read_text(encoding="utf-8") == wanted


def make(peer: str) -> None:
    """Make a peer's environment anew.

    Raises:
        subprocess.CalledProcessError: pip failed; its messages are on standard error.
    """
    folder, python = folder_of(peer), str(python_of(peer))
    requirements = ENVIRONMENTS[SHARED.get(peer, peer)]
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    for step in requirements.steps:
        subprocess.run([*install, *step], check=True)
    question = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.run([python, "-c", question], check=True, capture_output=True, text=True)
    for module in requirements.stand_ins:
        (Path(answer.stdout.strip()) / f"{module}.py").touch()
    (folder / RECORD).write_text(requirements.to_json(), encoding="utf-8")


def main(names: Sequence[str]) -> int:
    """Make the environments of these peers, or of all; returns the exit status."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        print(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    for name in names or ENVIRONMENTS:
        if is_made(name):
            print(f"{name}: there already")
            continue
        print(f"{name}: making {folder_of(name)}", flush=True)
        try:
            make(name)
        except subprocess.CalledProcessError as failure:
            print(f"{name}: {' '.join(failure.cmd[:5])} ... failed, see above", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

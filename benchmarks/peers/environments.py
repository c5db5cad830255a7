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

from benchmarks.protocol import ROOT

FOLDER = ROOT / ".peers"
RECORD = "environment.json"

# Alone and pinned, torch is settled before anything else asks for it: where there is a build for
# this machine's CPU, pip takes that one.
TORCH = "torch==2.13.0"
REQUIREMENTS = {
    "opennmt": [
        TORCH,
        # OpenNMT-py's own list asks for an older PyTorch, so it comes without; it imports these.
        "numpy pyyaml six tensorboard sacrebleu setuptools ConfigArgParse==1.9.0 pyonmttok==1.38.1 "
        "pyahocorasick==2.3.1 RapidFuzz==3.14.6 fasttext-wheel==0.9.2 ctranslate2==4.8.5",
        "--no-deps OpenNMT-py==3.5.1",
    ],
    "marian": [TORCH, "numpy transformers"],
}
"""Arguments of one ``pip install`` after the other."""
STAND_INS = {"opennmt": "spacy"}
"""An empty module, for an import that is never used."""
SHARED = {"torch_transformer": "marian", "ctranslate2": "opennmt"}
"""Peers that run in another's environment."""
PEERS = (*REQUIREMENTS, *SHARED)


def folder_of(peer: str) -> Path:
    """A peer's environment, whether or not it has been made."""
    return FOLDER / SHARED.get(peer, peer)


def python_of(peer: str) -> Path:
    """The interpreter that runs a peer."""
    return folder_of(peer) / "bin" / "python"


def missing(peer: str) -> str:
    """How a peer's environment is made, unless it is there, complete, by these requirements."""
    record, wanted = folder_of(peer) / RECORD, REQUIREMENTS[SHARED.get(peer, peer)]
    if record.exists() and json.loads(record.read_text(encoding="utf-8")) == wanted:
        return ""
    return f"python -m benchmarks.peers.environments {peer} makes what it needs"


def make(peer: str) -> None:
    """Make a peer's environment anew.

    Raises:
        subprocess.CalledProcessError: pip failed; its messages are on standard error.
    """
    folder, python = folder_of(peer), str(python_of(peer))
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    for step in REQUIREMENTS[peer]:
        subprocess.run([*install, *step.split()], check=True)
    if peer in STAND_INS:
        next(folder.glob("lib/python*/site-packages")).joinpath(f"{STAND_INS[peer]}.py").touch()
    (folder / RECORD).write_text(json.dumps(REQUIREMENTS[peer], indent=1), encoding="utf-8")


def main(names: Sequence[str]) -> int:
    """Make the environments of these peers, or of all; returns the exit status."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        print(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    for name in dict.fromkeys(SHARED.get(name, name) for name in names or PEERS):
        print(f"{name}: {folder_of(name)}", flush=True)
        try:
            if missing(name):
                make(name)
        except subprocess.CalledProcessError as failure:
            print(f"{name}: {' '.join(failure.cmd[:5])} ... failed, see above", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

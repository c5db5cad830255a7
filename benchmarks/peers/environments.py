"""One virtual environment for each peer, in ``.peers/`` at the root of the repository.

    python -m benchmarks.peers.environments            # all of them
    python -m benchmarks.peers.environments opennmt    # this one

What is there already with the same requirements is left alone. Packages that the suite uses too
have the versions of ``constraints.txt``; the others are pinned here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".peers"
RECORD = "environment.json"


@dataclass(frozen=True)
class Recipe:
    """How an environment is made.

    Attributes:
        steps: arguments of one ``pip install`` after the other.
        stand_ins: empty modules, for imports that are never used.
    """

    steps: tuple[tuple[str, ...], ...]
    stand_ins: tuple[str, ...] = ()

    def to_json(self) -> list[object]:
        """What a finished environment remembers of it."""
        return [[list(step) for step in self.steps], list(self.stand_ins)]


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

RECIPES = {
    "opennmt": Recipe(
        (TORCH, OPENNMT_NEEDS, ("--no-deps", "OpenNMT-py==3.5.1")), stand_ins=("spacy",)
    ),
    "marian": Recipe((TORCH, ("numpy", "transformers"))),
    "ctranslate2": Recipe((("numpy", "pyyaml", "setuptools", "ctranslate2==4.8.5"),)),
}

# Peers that live in another's environment.
SHARED = {"torch_transformer": "marian"}

PEERS = (*RECIPES, *SHARED)


def python_of(peer: str) -> Path:
    """The interpreter that runs a peer, whether or not its environment has been made."""
    environment = FOLDER / SHARED.get(peer, peer)
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def is_made(peer: str) -> bool:
    """Whether a peer's environment is there and complete, by the present requirements."""
    name = SHARED.get(peer, peer)
    record = FOLDER / name / RECORD
    if not record.exists() or not python_of(peer).exists():
        return False
    stored = json.loads(record.read_text(encoding="utf-8"))
    return bool(stored["recipe"] == RECIPES[name].to_json())


def versions(peer: str) -> dict[str, str]:
    """Packages of a peer's environment and their versions, as recorded when it was made."""
    record = FOLDER / SHARED.get(peer, peer) / RECORD
    stored: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))["versions"]
    return stored


def make(peer: str) -> None:
    """Make a peer's environment afresh.

    Raises:
        subprocess.CalledProcessError: pip failed; what it said is on standard error.
    """
    name = SHARED.get(peer, peer)
    folder, python = FOLDER / name, str(python_of(peer))
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    for step in RECIPES[name].steps:
        subprocess.run([*install, *step], check=True)
    for module in RECIPES[name].stand_ins:
        (_packages(python) / f"{module}.py").touch()
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    found = {entry["name"]: entry["version"] for entry in json.loads(listed.stdout)}
    record = {"recipe": RECIPES[name].to_json(), "versions": found}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _packages(python: str) -> Path:
    """Where an interpreter keeps its packages."""
    question = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.run([python, "-c", question], check=True, capture_output=True, text=True)
    return Path(answer.stdout.strip())


def main(names: Sequence[str]) -> int:
    """Make the environments of these peers, or of all; the exit status."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        print(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    for name in names or RECIPES:
        if is_made(name):
            print(f"{name}: there already")
            continue
        print(f"{name}: making {python_of(name).parents[1]}", flush=True)
        try:
            make(name)
        except subprocess.CalledProcessError as failure:
            print(f"{name}: {' '.join(failure.cmd[:5])} ... failed, see above", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

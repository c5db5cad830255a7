"""Run folders and reports made up for tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qvbench.cli.report import main
from qvbench.report.comparison import Comparison, Options, compare
from qvbench.report.runs import load

WORDS = ["a", "small", "red", "house", "stands", "behind", "the", "old", "tree", "near", "it"]
SENTENCES = 200


def write_run(
    root: Path, name: str, position: str, values: Sequence[float], seed: int = 1, **changes: Any
) -> Path:
    """A run's folder with a validation per value; the last one is in its record."""
    folder = root / "runs" / name / f"seed-{seed}"
    folder.mkdir(parents=True)
    record: dict[str, Any] = {
        "id": f"{name}/seed-{seed}",
        "config": f"{name}.yaml",
        "mechanism": name.split("-")[0],
        "position": position,
        "seed": seed,
        "git": "0123456789abcdef",
        "versions": {"torch": "2.0", "lightning": "2.6"},
        "hardware": {"cpu": "abacus", "threads": 2, "precision": "32-true", "gpus": []},
        "parameters": {"total": 1234567, "attention": 4321},
        "steps": 100,
        "target_tokens": 60000,
        "wall_seconds": 120.0,
        "metrics": {"val/accuracy": values[-1], "test/bleu_tokenised": 41.023},
        "bleu_signatures": {"test/bleu_tokenised": "tok:none"},
        "primary_metric": {
            "name": "val/accuracy",
            "label": "validation accuracy",
            "unit": "%",
            "higher_is_better": True,
        },
        "status": "finished",
    } | changes
    label = {"mechanism": record["mechanism"].upper(), "position": position}
    record.setdefault("label", label)
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    metric = record["primary_metric"]["name"]
    rows = ["step,epoch,target_tokens,seconds,metric,value"]
    rows += [f"{i},,{i * 1000},{i}.5,{metric},{value}" for i, value in enumerate(values, 1)]
    rows += [",,,,test/bleu,41", "5,,5000,1,train/lr,0.1"]
    (folder / "curves.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def write_variant(
    root: Path, name: str, ends: Sequence[float], place: int = 0, **changes: Any
) -> list[Path]:
    """A variant's runs of a suite: seed n ends at the nth accuracy."""
    sweep = {
        "file": "suites/trial.yaml",
        "title": "A trial",
        "baseline": "qkv",
        "place": place,
        "variants": 2,
        "overrides": [["trainer.max_steps", "5"]],
    }
    position = changes.pop("position", "agf")
    labels = {"suite": "trial", "variant": name, "identity": name, "sweep": sweep} | changes
    return [
        write_run(root, f"trial-{name}", position, [end - 20, end - 5, end], seed, **labels)
        for seed, end in enumerate(ends, 1)
    ]


def write_curves(folder: Path, gained: float, every: int = 1) -> None:
    """Ten validations, one in so many steps."""
    steps = [n * every for n in range(1, 11)]
    rows = ["step,epoch,target_tokens,seconds,metric,value"]
    rows += [f"{n},,{n * 1000},{60 * n},val/accuracy,{50 + n + gained}" for n in steps]
    (folder / "curves.csv").write_text("\n".join(rows) + "\n")


def add_counts(folder: Path, seed: int, share: float) -> None:
    """A run's counts: every sentence of ten tokens, about a share of them correct."""
    random = np.random.default_rng(seed)
    correct = random.binomial(10, share, SENTENCES).astype(np.uint16)
    tokens = np.full(SENTENCES, 10, np.uint16)
    np.savez_compressed(folder / "sentences.npz", tokens=tokens, last_right=correct)


def add_lines(folder: Path, seed: int, wrong: float) -> None:
    """A run's translations: a share of the words replaced; no character but \\n ends a line."""
    random, content = np.random.default_rng(7), np.random.default_rng(seed)
    references = [" ".join(random.permutation(WORDS)) for _ in range(60)]
    translations = [
        " ".join("x" if content.random() < wrong else word for word in line.split())
        for line in references
    ]
    translations[0] += "\u2028."
    (folder / "test-references.txt").write_text("".join(f"{x}\n" for x in references))
    (folder / "test-translations.txt").write_text("".join(f"{x}\n" for x in translations))


def report(output: Path, *args: str | Path) -> str:
    """Make a report; gives its page."""
    assert main([*map(str, args), "--output", str(output)]) == 0
    return (output / "README.md").read_text(encoding="utf-8")


def rows_of(output: Path) -> dict[str, dict[str, str]]:
    """The rows of a results folder's table, by the variant's name."""
    with (output / "table.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a results folder, the folder's own name taken out of its commands."""
    return {
        str(f.relative_to(folder)): f.read_bytes().replace(str(folder).encode(), b"FOLDER")
        for f in folder.rglob("*")
        if f.is_file()
    }


def compared(places: Sequence[Path], **options: Any) -> Comparison:
    """The comparison of some folders' runs."""
    return compare(load(places), Path("made up"), Options(**options), {})

"""A results folder from made-up runs: every number in it is traced to a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qvbench.cli.report import main
from qvbench.errors import UserError
from qvbench.report.load import load


def write_run(
    root: Path,
    name: str,
    position: str,
    accuracies: list[float],
    seed: int = 1,
    **changes: Any,
) -> Path:
    folder = root / "runs" / name / f"seed-{seed}"
    folder.mkdir(parents=True)
    record = {
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
        "metrics": {"val/accuracy": accuracies[-1], "test/bleu_tokenised": 41.023},
        "bleu_signatures": {"test/bleu_tokenised": "tok:none"},
        "status": "finished",
    } | changes
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    rows = ["step,epoch,target_tokens,seconds,metric,value"]
    rows += [f"{i},,{i * 1000},{i}.5,val/accuracy,{a}" for i, a in enumerate(accuracies, 1)]
    rows += [",,,,test/bleu,41", "5,,5000,1,train/lr,0.1"]
    (folder / "curves.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path, "qv-b", "agf", [50.0, 62.5, 61.25]),
        write_run(tmp_path, "qkv-a", "agf", [51.123456789, 60.0]),
        write_run(tmp_path, "qkv-c", "sinusoidal", [51.0, 59.0]),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a results folder, the folder's own name taken out of its commands."""
    return {
        str(f.relative_to(folder)): f.read_bytes().replace(str(folder).encode(), b"FOLDER")
        for f in folder.rglob("*")
        if f.is_file()
    }


def test_a_row_holds_the_runs_numbers(runs, tmp_path):
    """Last and best mixed up, a cell under another heading, minutes in seconds."""
    main([*map(str, runs), "--output", str(tmp_path / "out")])
    lines = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    table = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    assert list(table) == ["qkv-a/seed-1", "qkv-c/seed-1", "qv-b/seed-1"]
    row = table["qv-b/seed-1"]
    assert (row["val accuracy, last"], row["best"]) == ("61.25", "62.50")
    assert (row["BLEU, tokenised"], row["BLEU"]) == ("41.02", "-")
    assert (row["minutes"], row["tokens/s"], row["parameters"]) == ("2", "500", "1,234,567")


def test_the_page_states_differences_and_that_they_are_no_verdict(runs, tmp_path):
    """A sign turned round, or one run sold as a result."""
    main([*map(str, runs), "--output", str(tmp_path / "out"), "--title", "Trial"])
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# Trial")
    assert "qv minus qkv, agf: +1.25 points" in page
    assert "qkv: AGF minus sinusoidal +1.00 points" in page
    assert "no verdict" in page
    assert "suite's reading" in page
    assert "qvbench fit --config qv-b.yaml --seed_everything 1" in page
    assert "`test/bleu_tokenised`: `tok:none`" in page


def test_a_run_of_a_suite_is_made_again_by_what_the_suite_made_of_its_config(tmp_path):
    """The base config in its place, which is another variant."""
    run = write_run(tmp_path, "qv-b", "agf", [50.0], variant="qv")
    main([str(run), "--output", str(tmp_path / "out")])
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "out/runs/qv-b-seed-1.yaml --seed_everything 1" in page
    assert "--config qv-b.yaml" not in page


def test_results_made_again_from_results_are_the_same(runs, tmp_path):
    """A folder that cannot be generated again from what it keeps, curves cut to six digits."""
    first, second = tmp_path / "out", tmp_path / "again"
    main([*map(str, runs), "--output", str(first), "--title", "T"])
    main([str(first), "--output", str(second), "--title", "T"])
    a, b = contents(first), contents(second)
    assert a.keys() == b.keys() >= {"accuracy.png", "accuracy.svg", "curves.csv", "table.md"}
    assert [name for name in a if a[name] != b[name]] == []


def test_faults_name_the_file(runs, tmp_path):
    """A traceback, or a table that leaves a damaged run out."""
    with pytest.raises(UserError, match="neither a run"):
        load([tmp_path])
    with pytest.raises(UserError, match="was given already"):
        load([runs[0], runs[0]])
    (runs[0] / "curves.csv").write_text("step,target_tokens,seconds,metric,value\n1,2,3,val/loss,x")
    with pytest.raises(UserError, match=r"curves.csv:2: not a measurement"):
        load(runs)
    (runs[0] / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run.json: cannot be read"):
        load(runs)


def test_a_run_without_validation_has_a_row_and_no_figure(runs, tmp_path):
    """A crash over the one run that ended early."""
    (runs[0] / "curves.csv").unlink()
    main([str(runs[0]), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "accuracy.png").exists()
    assert "accuracy.png" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_no_torch_is_needed():
    """Tables that can only be made where models can be trained."""
    code = "import sys, qvbench.cli.report, qvbench.report.figure;sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_uncommitted_changes_show(runs, tmp_path):
    """A revision that gives other numbers than the ones beside it."""
    changed = write_run(tmp_path, "qv-d", "agf", [50.0], git="0123456789abcdef+dirty")
    main([str(changed), "--output", str(tmp_path / "out")])
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "revision 0123456789ab with uncommitted changes" in page
    main([str(runs[0]), "--output", str(tmp_path / "clean")])
    assert "with uncommitted" not in (tmp_path / "clean" / "README.md").read_text(encoding="utf-8")


def test_the_rule_for_checkpoints_is_stated(tmp_path):
    """Scores of the best and of averaged weights in one column, and nobody told."""
    a = write_run(tmp_path, "qv-d", "agf", [50.0], tested_checkpoint="averaged.ckpt")
    b = write_run(tmp_path, "qv-e", "agf", [50.0], tested_checkpoint="last.ckpt")
    main([str(a), "--output", str(tmp_path / "one")])
    page = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert "`averaged.ckpt` (the mean of the weights" in page
    assert "differ in it" not in page
    main([str(a), str(b), "--output", str(tmp_path / "two")])
    page = (tmp_path / "two" / "README.md").read_text(encoding="utf-8")
    assert "**The runs differ in it.**" in page

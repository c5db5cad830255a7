"""Runs are read, gathered and found: from their own folders, and from results again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from qvbench.cli.experiment import resolve
from qvbench.cli.report import main
from qvbench.cli.sweep import main as sweep
from qvbench.errors import UserError
from qvbench.report.runs import load, runs_of_suite
from qvbench.report.variants import Contrast
from qvbench.sweep.plan import plan
from qvbench.sweep.suite import read_suite
from tests.report.helpers import (
    add_counts,
    add_lines,
    compared,
    contents,
    report,
    write_run,
    write_variant,
)
from tests.sweep.conftest import write_suite

pytestmark = pytest.mark.slow  # nearly every test writes reports; `make test` runs them


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """qv is clearly worse than qkv by counts, and by its translations."""
    found = []
    for name, share, wrong in (("qkv", 0.7, 0.1), ("qv", 0.5, 0.3)):
        for seed, folder in enumerate(write_variant(tmp_path, name, [92.0, 92.4, 92.2]), 1):
            add_counts(folder, seed, share)
            if seed == 1:  # a second of resampling each
                add_lines(folder, seed, wrong)
            found.append(folder)
    return found


@pytest.mark.usefixtures("no_figures")
def test_no_place_of_a_machine_is_published(runs: list[Path], tmp_path: Path) -> None:
    """Catches somebody's home folder in the results of the world."""
    corpus = {"class_path": "Text", "init_args": {"root": "/home/somebody"}}
    trainer = {"max_steps": 5, "default_root_dir": "/home/somebody"}
    config = {"trainer": trainer, "data": {"seed": 1, "corpus": corpus}}
    command = "qvbench fit --config=/home/somebody/mine.yaml --data.cache_dir '/home/somebody/c'"
    for folder in runs:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        record = json.loads((folder / "run.json").read_text())
        fault = {"fault": {"message": "/home/somebody/last.ckpt: the disk is full"}}
        (folder / "run.json").write_text(json.dumps(record | fault | {"command": command}))
    output = tmp_path / "out"
    report(output, *runs)
    kept = [
        file
        for file in output.rglob("*")
        if file.suffix in (".yaml", ".json", ".jsonl", ".md", ".html")
    ]
    assert len(kept) > 6
    assert not [file for file in kept if "/home/somebody" in file.read_text(encoding="utf-8")]
    (run, *_) = load([output])
    assert run.config["trainer"] == {"default_root_dir": None, "max_steps": 5}
    assert run.record["command"] == "qvbench fit --config=mine.yaml --data.cache_dir 'c'"


@pytest.mark.usefixtures("no_figures")
def test_a_report_leaves_nothing_of_an_earlier_one(runs: list[Path], tmp_path: Path) -> None:
    """Catches runs and figures of another report in a folder, which the next one would count."""
    report(tmp_path / "fresh", *runs[:3])
    report(tmp_path / "used", *runs)
    for suffix in (".png", ".pdf", ".svg"):
        (tmp_path / "used" / f"differences{suffix}").touch()
    report(tmp_path / "used", *runs[:3])
    assert contents(tmp_path / "used") == contents(tmp_path / "fresh")


def test_a_folder_of_seeds_is_its_runs(runs: list[Path]) -> None:
    """Catches runs lost, or given twice, between a folder and the folder above it."""
    folders = sorted({run.parent for run in runs})
    assert [run.id for run in load(folders)] == [run.id for run in load(runs)]
    with pytest.raises(UserError, match="was given already"):
        load([runs[0], runs[0]])


def test_what_a_killed_run_leaves_is_no_damage(runs: list[Path]) -> None:
    """Catches half a line of the curves taken for a value, or a suite that it makes unreadable."""
    curves = runs[0] / "curves.csv"
    whole = curves.read_bytes()
    expected = load(runs[:1])[0].curves
    for half in (b"4,,4000,4.5,val/acc", b"4,,4000,4.5,val/accuracy,6"):
        curves.write_bytes(whole + half)
        assert load(runs[:1])[0].curves == expected


@pytest.mark.usefixtures("no_figures")
def test_damage_names_the_file(runs: list[Path], tmp_path: Path) -> None:
    """Catches a traceback, or a table that leaves a damaged run out."""
    with pytest.raises(UserError, match="neither a run's folder, runs/NAME, nor results"):
        load([tmp_path])
    output = tmp_path / "out"
    report(output, *runs)
    lines = output / "runs" / "test.json.xz"
    bad = bytearray(lines.read_bytes())
    bad[40:60] = bytes(20)
    records = (output / "runs" / "records.jsonl").read_bytes()
    (runs[0] / "config.yaml").touch()
    for file, content, words in (
        (runs[0] / "test-references.txt", b"one\n", "60 translations of the test set for 1"),
        (runs[0] / "sentences.npz", b"no", r"sentences.npz: cannot be read"),
        (
            runs[0] / "curves.csv",
            b"step,target_tokens,seconds,metric,value\n1,2,3,val/loss,x\n",
            r"curves.csv:2: cannot be read as a measurement",
        ),
        (runs[0] / "curves.csv", b"step\n\xff", r"curves.csv: cannot be read as text"),
        (runs[0] / "config.yaml", b"a: [", r"config.yaml: cannot be read as a config"),
        (runs[0] / "run.json", b"{", r"run.json: cannot be read"),
        (runs[0] / "run.json", b"{}", r"run.json: not a run's record; it lacks"),
        (lines, b"no", r"test.json.xz: cannot be read as translations"),
        (lines, bad, r"test.json.xz: cannot be read as translations"),
        (output / "runs/sentences.npz", b"no", r"sentences.npz: cannot be read"),
        (output / "runs/records.jsonl", records[:-9], r"records.jsonl:\d: cannot be read"),
        (output / "report.json", b"[]", r"report.json: cannot be read"),
        (output / "bleu_tests.json", b"[1]", r"bleu_tests.json: cannot be read"),
    ):
        before = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(UserError, match=words):
            main(
                [
                    str(runs[0] if file.parent == runs[0] else output),
                    "--output",
                    str(tmp_path / "o"),
                ]
            )
        file.write_bytes(before)


def test_other_sentences_are_not_paired(runs: list[Path]) -> None:
    """Catches differences line by line of two validation sets, or of another tokenization."""
    for folder in runs[:3]:
        np.savez_compressed(
            folder / "sentences.npz", tokens=np.full(9, 9), last_right=np.full(9, 5)
        )
    qkv, qv = compared(runs).variants
    assert Contrast((qv,), (qkv,)).over_sentences() is None
    assert Contrast((qv,), ()).over_sentences() is not None
    np.savez_compressed(runs[0] / "sentences.npz", tokens=np.full(8, 9), last_right=np.full(8, 5))
    assert Contrast(compared(runs).variants[:1], ()).over_sentences() is None
    (runs[0] / "sentences.npz").unlink()
    assert Contrast(compared(runs).variants[:1], ()).over_sentences() is None


# A suite's runs


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """The folder of the small suite, three of its four runs finished, one under another name."""
    runs = plan(read_suite(write_suite(tmp_path)), tmp_path, resolve)
    for place, run in enumerate(runs[:3]):
        group = run.group.replace("one-", "elsewhere-")
        labels = {"variant": group.partition("-")[0], "identity": run.identity}
        write_run(tmp_path, group, "agf", [50.0, 60.0 + place], run.seed, **labels)
    write_run(tmp_path, "other-01234567", "agf", [50.0], identity="0123456701234567")
    return tmp_path


@pytest.mark.parametrize("below", ["", "runs"])
def test_runs_are_found_by_what_they_are(below: str, swept: Path) -> None:
    """Catches a run of another name that is left out, one of another definition taken in."""
    runs = runs_of_suite(read_suite(swept / "pair.yaml"), [swept / below], resolve)
    found = {(run.record["variant"], run.seed) for run in runs}
    assert found == {("qv", 1), ("one", 1), ("qv", 2)}
    assert {run.record["suite"] for run in runs} == {"pair"}
    assert runs[0].record["sweep"]["rows"] == ["qv", "one"]
    assert len(runs_of_suite(read_suite(swept / "pair.yaml"), [swept], resolve, seeds=[2])) == 1


@pytest.mark.usefixtures("no_figures")
def test_results_serve_another_suite(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a folder of which no second table can be made, or one with the first's title."""
    monkeypatch.chdir(swept)
    page = report(Path("results/pair"), "--suite", "pair.yaml", "--title", "Mine")
    assert page.startswith("# Mine")
    assert "**Planned and not run:** one (seeds 2)." in page
    write_suite(swept, title="Again", baseline="one", margin=0.3).rename("again.yaml")
    again = report(Path("results/again"), "results/pair", "--suite", "again.yaml")
    assert again.startswith("# Again")


@pytest.mark.usefixtures("no_figures")
def test_published_runs_are_not_repeated(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a suite that begins anew where its folder of runs is gone, an unfinished run taken
    for published, one run in two folders refused, scores of its test left out, a folder that is not
    there passed over, and two runs of one config and seed of which one is left out in silence."""
    monkeypatch.chdir(swept)
    runs = plan(read_suite(swept / "pair.yaml"), swept, resolve)
    facts = {"identity": runs[3].identity, "variant": "one", "started": "2026-01-01T00:00:00"}
    begun = write_run(swept, runs[3].group, "agf", [50.0], 2, **facts, status="interrupted")
    report(Path("results/pair"), "--suite", "pair.yaml")
    words = ["--suite", "pair.yaml", "--results", "results/pair", "--output", "new"]
    assert sweep([*words, "--dry_run"]) == 0
    planned = capsys.readouterr().out
    assert "4 runs, 3 of them finished" in planned
    digits = runs[3].identity[:8]
    assert f"to run    one-{digits}/seed-2" in planned
    shutil.rmtree(begun)
    write_run(swept / "new", runs[3].group, "agf", [70.0], 2, **facts)
    both = ["--suite", "pair.yaml", "--results", "results/pair", "results/pair", "new"]
    assert sweep([*both, "--dry_run"]) == 0
    assert "4 runs, 4 of them finished" in capsys.readouterr().out
    with pytest.raises(UserError, match="reslts/pair: no such folder"):
        sweep(["--suite", "pair.yaml", "--results", "reslts/pair", "--dry_run"])
    words = ["new", "results/pair", "--suite", "pair.yaml"]
    page = report(Path("results/pair"), *words)
    assert "Planned and not run" not in page
    assert report(Path("results/pair"), *words) == page  # the fourth run is now in both places
    file = swept / "new" / "runs" / runs[3].group / "seed-2" / "run.json"
    record = json.loads(file.read_text())
    record["metrics"]["test/bleu"] = 12.34
    file.write_text(json.dumps(record | {"tested_checkpoint": "last.ckpt"}))
    assert "12.34" in report(Path("results/pair"), *words), "tested after it was published"
    write_run(swept / "other", runs[3].group, "agf", [50.0], 2, **facts | {"started": "later"})
    with pytest.raises(UserError, match="one config and seed, two runs; give one"):
        report(Path("out"), "other", *words)


@pytest.mark.usefixtures("no_figures")
def test_nothing_found_says_how_to_make_it(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an empty page, the remedy left out before the first sweep, and options that are
    silently without effect."""
    (swept / "before").mkdir()
    monkeypatch.chdir(swept / "before")
    with pytest.raises(UserError, match="none of its runs in runs; `qvbench sweep --suite pair`"):
        main(["--suite", "../pair.yaml", "--output", "out"])
    monkeypatch.chdir(swept)
    with pytest.raises(UserError, match="none of its runs in runs; `qvbench sweep --suite pair`"):
        main(["--suite", "pair.yaml", "--trainer.max_steps", "3", "--output", "out"])
    for args, words in (
        (["runs", "--trainer.max_steps=3"], "options of `qvbench fit` belong to a suite"),
        ([], "nothing to report"),
        (["runs", "--margin", "0"], "invalid PositiveFloat value: '0'"),
    ):
        with pytest.raises(UserError, match=words):
            main([*args, "--output", "out"])

"""What the README shows is run, and its numbers are those of the results folder."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shlex
from pathlib import Path

import torch
import yaml

from qvbench.attention import ATTENTION
from qvbench.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]


EXAMPLES = [line for block in blocks("sh") for line in block.splitlines() if "qvbench" in line]


def printed_config(command: str) -> dict:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(shlex.split(command)[1:]) == 0
    return yaml.safe_load(output.getvalue())


def test_commands_do_what_they_say() -> None:
    """Catches an example that fails, or an override that drops what it does not name."""
    assert len(EXAMPLES) == 4
    plain, wider, other, shorter = (printed_config(command) for command in EXAMPLES)
    assert wider["model"]["attention"]["init_args"] == {
        **plain["model"]["attention"]["init_args"],
        "context_dim": 64,
    }
    assert other["model"]["attention"]["class_path"].endswith("QV")
    assert other["model"]["position"]["class_path"].endswith("Sinusoidal")
    assert other["model"]["network"] == plain["model"]["network"]
    assert (shorter["seed_everything"], shorter["trainer"]["max_steps"]) == (2, 100)


def test_the_mechanism_that_is_added_works() -> None:
    """Catches a walk-through that no longer fits the interface."""
    (code,) = blocks("python")
    scope: dict = {}
    try:
        exec(compile(code, "README.md", "exec"), scope)
        attention = scope["attention"]
        x = torch.randn(2, 5, 32)
        assert attention(x, causal=True).shape == x.shape
    finally:
        ATTENTION.pop("linear_key", None)


def test_the_config_shown_is_the_config() -> None:
    """Catches a config that went on without its picture in the README."""
    (shown,) = blocks("yaml")
    file = ROOT / "configs" / "qvka.yaml"
    assert yaml.safe_load(shown) == yaml.safe_load(file.read_text(encoding="utf-8"))


def test_tables_are_those_of_the_results() -> None:
    """Catches a number that was typed by hand, or is older than the run that it claims."""
    found = re.findall(r"<!-- generated: (\S+) -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert found
    for file, text in found:
        assert text == (ROOT / file).read_text(encoding="utf-8")


def test_the_summary_is_that_of_the_results() -> None:
    """Catches a difference or verdict of another row, or of runs that are no longer published."""
    table = README.partition("In short,")[2].partition("\n\n")[2].partition("\n\n")[0]
    (_, *mechanisms), _, *rows = cells_of(table)
    assert len(rows) > 2
    for task, *cells in rows:
        (page,) = re.findall(r"\]\((\S+)/README\.md\)", task)
        with (ROOT / page / "table.csv").open(encoding="utf-8") as file:
            results = list(csv.DictReader(file))
        (positions,) = {row["positions"] for row in results if row["verdict"] == "baseline"}
        for mechanism, cell in zip(mechanisms, cells, strict=True):
            (row,) = (
                row
                for row in results
                if row["variant"].split(",")[0] == mechanism and row["positions"] == positions
            )
            assert cell.replace("\u2212", "-") == f"{row['minus baseline']}, {row['verdict']}"


def test_the_seeds_that_recall_are_counted() -> None:
    """Catches a count of other runs, or of another step."""
    with (ROOT / "results" / "recall" / "curves.csv").open(encoding="utf-8") as file:
        ends = [row for row in csv.DictReader(file) if row["metric"] == "val/accuracy"]
    scores = {row["run"]: float(row["value"]) for row in ends if row["step"] == "2000"}
    table = README.partition("answers are right:\n\n")[2].partition("\n\n")[0]
    (_, *mechanisms), _, *rows = cells_of(table)
    assert len(rows) == 3
    for width, *counts in rows:
        for mechanism, count in zip(mechanisms, counts, strict=True):
            name = mechanism.lower().replace("-", "").replace(" 1\u00d7", "_1x") + f"_w{width}-"
            own = [scores[run] for run in scores if re.fullmatch(rf"{name}\w+/seed-[1-5]", run)]
            assert len(own) == 5
            assert int(count) == sum(score > 50 for score in own)


def test_links_and_folders_exist() -> None:
    """Catches a link that died, or a verb that the README does not know."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    folders = re.findall(r"^(qvbench/\w+/|\w+/)  ", README, re.MULTILINE)
    assert len(folders) > 10
    for place in (*links, *folders):
        assert (ROOT / place).exists(), place
    for name in COMMANDS:
        assert f"`{name}`" in README or f"`qvbench {name}" in README, name

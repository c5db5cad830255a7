"""The page on reliability names tests that exist, and figures that were measured."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from tests.fuzz import table

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def test_every_guarantee_names_a_test() -> None:
    """Catches a guarantee that nothing tests."""
    rows = [row for row in PAGE.splitlines() if row.startswith("| ") and "guarantee" not in row]
    generated = re.findall(r"<!-- generated.*?<!-- end -->", PAGE, re.DOTALL)
    guarantees = [row for row in rows if not any(row in block for block in generated)]
    assert len(guarantees) > 25
    for row in guarantees:
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", row), row


def test_every_named_test_exists() -> None:
    """Catches a test that was renamed or removed, its guarantee left standing."""
    assert len(NAMED) > 60
    for file, name in NAMED:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{file}::{name}"


def test_figures_are_those_of_the_results() -> None:
    """Catches numbers typed by hand, or older than the run that they are of."""
    ((file, text),) = re.findall(r"<!-- generated: (\S+) -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert text == table(json.loads((ROOT / file).read_text(encoding="utf-8")))


def test_the_readers_were_fuzzed_for_long_enough() -> None:
    """Catches a summary of a trial run, or of one whose faults are still there."""
    done = json.loads((ROOT / "results" / "reliability" / "fuzz.json").read_text(encoding="utf-8"))
    assert done["minutes"] >= 10
    assert not any(target["faults"] for target in done["runs"][-1]["targets"].values())

"""The page and its table for other readers, and what each variant was."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from qvbench.cli.report import main
from qvbench.report.formats import csv_table, latex_table
from qvbench.report.settings import differences, flattened
from qvbench.report.variant_table import p_text
from tests.report.test_comparison import rows_of, write_variant

COLUMNS = [("variant", ["qv_x", "a"]), ("95 % gap", ["-0.25", "-"]), ("count", ["1,234", "5"])]
TABLES = ("table", "costs")


def config(mechanism: str, **network: object) -> str:
    attention = {"class_path": f"qvbench.attention.{mechanism}", "init_args": {"bias": False}}
    model = {"attention": attention, "network": {"class_path": "N", "init_args": network}}
    trainer = {"max_steps": 5, "default_root_dir": "/home/somebody"}
    data = {"seed": 1, "corpus": {"class_path": "Text", "init_args": {"root": "/home/somebody"}}}
    return yaml.safe_dump({"seed_everything": 1, "trainer": trainer, "model": model, "data": data})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    runs = []
    for name in ("qkv", "qv"):
        for seed, folder in enumerate(write_variant(tmp_path, name, [92.0, 92.4, 92.1]), 1):
            settings = config(name.upper(), d_model=8).replace("seed: 1", f"seed: {seed}")
            (folder / "config.yaml").write_text(settings)
            runs.append(folder)
    main([*map(str, runs), "--output", str(tmp_path / "out"), "--title", "A < B"])
    return tmp_path / "out"


def test_a_csv_is_for_programs() -> None:
    """Separators of thousands, which make text of numbers, and dashes for what is missing."""
    rows = list(csv.reader(csv_table(COLUMNS).splitlines()))
    assert rows == [["variant", "95 % gap", "count"], ["qv_x", "-0.25", "1234"], ["a", "", "5"]]


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0123, "0.012"),
        (0.0004, "< 0.001"),
        (0.0503, "0.0503"),
        (0.0497, "0.0497"),
        (0.05003, "0.05003"),
        (1.0, "1.000"),
    ],
)
def test_a_p_value_shows_its_side_of_the_level(p: float, text: str) -> None:
    """0.0503 printed as 0.050 beside "not shown", 0.0497 as 0.050 beside "worse"."""
    assert p_text(p) == text


def test_latex_compiles() -> None:
    """An underscore or a per cent sign, which stop LaTeX, and hyphens for minus signs."""
    lines = latex_table(COLUMNS, ["variant"]).splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}"
    assert lines[2] == r"variant & 95 \% gap & count \\"
    assert lines[4:6] == [r"qv\_x & $-$0.25 & 1,234 \\", r"a & - & 5 \\"]


def test_latex_tables_fit_a_page(output: Path) -> None:
    """Twenty columns in one table of a paper, or a column that is in none."""
    result, costs = ((output / f"{name}.tex").read_text().splitlines() for name in TABLES)
    assert result[2].startswith("variant & mechanism & positions & seeds & val accuracy &")
    assert costs[2] == r"variant & target tokens & parameters & in attention & minutes \\"
    assert len(result[4].split("&")) == len(result[2].split("&")) == 11


def test_the_html_page_stands_alone(output: Path) -> None:
    """A picture or a style that must be fetched, a title that is taken for a tag."""
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "<title>A &lt; B</title>" in page
    assert page.count("<svg ") >= 2
    assert not re.search(r"<(img|link|script)|url\(http|src=", page)
    bare = page.replace(",", "")
    for cell in filter(None, rows_of(output)["qv"].values()):
        text = cell.replace(",", "").replace("<", "&lt;")
        assert f">{text}</td>" in bare or f" {text};" in bare or f" {text}." in bare


def test_what_a_variant_was(output: Path) -> None:
    """The seed shown as a difference, a difference left out."""
    page = (output / "README.md").read_text(encoding="utf-8")
    assert "- qv: `model.attention.class_path` `QKV` → `QV`\n" in page
    assert (output / "runs" / "trial-qv-seed-1.yaml").is_file()


def test_no_place_of_a_machine_is_published(output: Path) -> None:
    """Somebody's home folder in the results of the world."""
    files = [f for f in output.rglob("*") if f.suffix in (".yaml", ".json", ".md", ".html")]
    assert len(files) > 12
    assert not [file for file in files if "/home/somebody" in file.read_text(encoding="utf-8")]
    kept = yaml.safe_load((output / "runs" / "trial-qv-seed-1.yaml").read_text(encoding="utf-8"))
    assert kept["trainer"] == {"default_root_dir": None, "max_steps": 5}


def test_settings_that_only_one_has() -> None:
    a, b = flattened(config("QV", d_model=8)), flattened(config("QV", d_model=8, depth=2))
    assert differences(b, a) == {"model.network.depth": (None, 2)}
    assert flattened("") == {}

"""Counts by sentence and translations: from run folders to the table, and kept in results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qvbench.cli.report import main
from qvbench.errors import UserError
from qvbench.report.load import load
from qvbench.report.variants import compare
from tests.report.test_comparison import rows_of, write_variant
from tests.report.test_report import contents

SENTENCES = 200
WORDS = ["a", "small", "red", "house", "stands", "behind", "the", "old", "tree", "near", "it"]


def add_counts(folder: Path, seed: int, share: float) -> None:
    """A run's counts: every sentence of ten tokens, about a share of them right."""
    random = np.random.default_rng(seed)
    right = random.binomial(10, share, SENTENCES).astype(np.uint16)
    tokens = np.full(SENTENCES, 10, np.uint16)
    np.savez_compressed(folder / "sentences.npz", tokens=tokens, last_right=right)


def add_lines(folder: Path, seed: int, wrong: float) -> None:
    """A run's translations: a share of the words replaced."""
    random, content = np.random.default_rng(7), np.random.default_rng(seed)
    references = [" ".join(random.permutation(WORDS)) for _ in range(60)]
    translations = [
        " ".join("x" if content.random() < wrong else word for word in line.split())
        for line in references
    ]
    (folder / "test-references.txt").write_text("".join(f"{x}\n" for x in references))
    (folder / "test-translations.txt").write_text("".join(f"{x}\n" for x in translations))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """qv is clearly worse than qkv by counts, and by its translations."""
    found = []
    for name, share, wrong in (("qkv", 0.7, 0.1), ("qv", 0.5, 0.3)):
        for seed, folder in enumerate(write_variant(tmp_path, name, [92.0, 92.4, 92.2]), 1):
            add_counts(folder, seed, share)
            add_lines(folder, seed, wrong)
            found.append(folder)
    return found


def test_counts_and_lines_reach_the_page(runs: list[Path], tmp_path: Path) -> None:
    """A column of another variant, unpaired seeds, a test of a run against itself."""
    output = tmp_path / "out"
    main([*map(str, runs), "--output", str(output)])
    row = rows_of(output)["qv"]
    low, high = map(float, row["paired, other sentences too"].split(" to "))
    assert low < -20 < high < 0
    assert not rows_of(output)["qkv"]["paired, other sentences too"]
    page = (output / "README.md").read_text(encoding="utf-8")
    assert "### BLEU on the test set" in page
    assert page.count("3 of 3 (p < 0.001) |") == 2, "bootstrap and randomisation"


def test_other_sentences_are_not_paired(runs: list[Path]) -> None:
    """Line by line differences of two validation sets, or of another tokenisation."""
    counts = {"tokens": np.full(9, 9), "last_right": np.full(9, 5)}
    for folder in runs[:3]:
        np.savez_compressed(folder / "sentences.npz", **counts)
    comparison = compare(load(runs))
    assert comparison is not None
    qv = comparison.variants[1]
    assert comparison.crossed_difference(qv) is None
    assert qv.crossed is not None
    np.savez_compressed(runs[0] / "sentences.npz", tokens=np.full(8, 9), last_right=np.full(8, 5))
    comparison = compare(load(runs))
    assert comparison is not None
    assert comparison.variants[0].crossed is None


def test_results_keep_what_their_tests_need(runs: list[Path], tmp_path: Path) -> None:
    """A published folder whose intervals nobody can make again."""
    first, again = tmp_path / "out", tmp_path / "again"
    main([*map(str, runs), "--output", str(first)])
    main([str(first), "--output", str(again)])
    a, b = contents(first), contents(again)
    assert a == b
    assert (first / "runs" / "trial-qv-seed-1.lines.gz").is_file()


def test_damage_names_the_file(runs: list[Path]) -> None:
    """A traceback of numpy's, or tests that silently leave a run out."""
    (runs[0] / "test-references.txt").write_text("one\n")
    with pytest.raises(UserError, match="60 translations of the test set for 1 references"):
        load(runs)
    (runs[0] / "sentences.npz").write_bytes(b"no")
    with pytest.raises(UserError, match=r"sentences.npz: cannot be read"):
        load(runs)


def test_the_margin_is_said_and_must_be_one(runs: list[Path], tmp_path: Path) -> None:
    """A margin that is not the one tested, or that makes everything different."""
    output = tmp_path / "out"
    main([*map(str, runs), "--output", str(output), "--margin", "0.25"])
    assert "±0.25 points" in (output / "README.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="--margin must be above 0"):
        main([*map(str, runs), "--output", str(output), "--margin", "0"])

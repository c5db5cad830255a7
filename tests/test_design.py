"""The design page names files that exist, and no more of them than a reader should have to open."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
MOST = {"training step": 11, "forward": 6, "cached step": 9, "suite": 20}


def test_named_files_exist() -> None:
    """Catches a file that was renamed or merged, the page left as it was."""
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)", PAGE))
    assert len(named) > 40
    gone = [n for n in named if not (ROOT / "qvbench" / n).exists() and not (ROOT / n).exists()]
    assert not gone


def test_paths_through_the_code_stay_short() -> None:
    """Catches one more file on the way through a step, a forward, or a suite."""
    rows = dict(re.findall(r"^\| (.+?) \(\d+\) \| (.+) \|$", PAGE, re.MULTILINE))
    counted = dict(re.findall(r"^\| (.+?) \((\d+)\) \|", PAGE, re.MULTILINE))
    assert {name: len(re.findall(r"`[\w/]+\.py`", files)) for name, files in rows.items()} == {
        name: int(number) for name, number in counted.items()
    }
    for words, most in MOST.items():
        assert any(words in name and int(number) <= most for name, number in counted.items()), words

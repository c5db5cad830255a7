"""A few examples of every fuzzer, always the same ones, and what the long runs found."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.fuzz import Outcome
from tests.fuzz import main as fuzz
from tests.fuzz_targets import TARGETS, Target, check_overlay, check_text

EXAMPLES = {"text reader": 150, "stored corpus": 8, "random config": 4, "changed config": 4}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_readers_work_or_refuse_in_a_line(name: str, tmp_path: Path, monkeypatch) -> None:
    """Catches a traceback or a hang for text or a config that nobody thought of."""
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path))
    outcome = Outcome()
    outcome.run(TARGETS[name], EXAMPLES[name], None)
    assert not outcome.faults
    assert outcome.examples >= EXAMPLES[name] // 2


# What was found, and other texts that are easily got wrong: accepted or not.
TEXTS = {
    "nothing": (b"", b"", False),
    "NEL within a line": (b"a\xc2\x85b\n", b"c\n", True),
    "NUL": (b"a\x00b\n", b"c\n", True),
    "byte order mark": (b"\xef\xbb\xbfa\n", b"c\n", True),
    "UTF-16": (b"\xff\xfea\x00\n\x00", b"c\n", False),
    "surrogate": (b"\xed\xa0\x80\n", b"c\n", False),
    "beyond Unicode": (b"\xf4\x90\x80\x80\n", b"c\n", False),
    "a line of spaces only": (b"\xe3\x80\x80\n", b"c\n", False),
    "a huge line": (b"x y " * 500_000, b"c", True),
    "unequal counts": (b"a\nb", b"c\n", False),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_of_kinds(case: str) -> None:
    source, target, accepted = TEXTS[case]
    assert check_text((("", source), ("", target))) == accepted


CONFIGS = {
    "nothing": b"",
    "a comment": b"# nothing\n",
    "a list": b"[]",
    "a number": b"3",
    "NUL": b"model: \x00",
    "an object": b"model: !!python/name:os.system\n",
    "an alias of nothing": b"model: *a\n",
    "a key that is a list": b"? [a]\n: b\n",
    "a merge of nothing": b"<<: 3\n",
    "a number without digits": b"!!float",
    "a truth value that is none": b"model: !!bool x\n",
    "a date that is none": b"model: !!timestamp x\n",
    "not UTF-8": b"\xff",
    "a key twice removed": b"model: {network: {init_args: {d_model: {a: 1}}}}",
    "a group that is text": b"trainer: Text\n",
    "a schedule that objects": b"model: {schedule: {class_path: Noam, init_args: {factor: -1}}}",
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_of_kinds(case: str) -> None:
    assert not check_overlay(CONFIGS[case])


def test_the_fuzzer_finds_what_is_there(monkeypatch, tmp_path: Path, capsys) -> None:
    """Catches a fuzzer that reports nothing, whatever happens."""

    def check(example: object) -> bool:
        if random.Random(repr(example)).random() < 0.2:
            raise KeyError("an example")
        return True

    only = Target(TARGETS["text reader"].examples, check, 1.0, 50)
    monkeypatch.setattr("tests.fuzz.TARGETS", {"text reader": only})
    file = tmp_path / "fuzz.json"
    assert fuzz(["--minutes", "0.001", "--output", str(file)]) == 1
    fuzz(["--minutes", "0.001", "--output", str(file)])
    found = json.loads(file.read_text())
    assert len(found["runs"]) == 2
    (fault,) = found["runs"][0]["targets"]["text reader"]["faults"]
    assert fault.startswith("KeyError in test_fuzz.py")

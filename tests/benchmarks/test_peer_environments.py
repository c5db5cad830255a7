"""The peers' environments: what is in them is pinned, and an old one is not taken for a new one."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from benchmarks.peers import environments


def test_every_requirement_is_pinned() -> None:
    # Catches a package whose version would change from one month to the next.
    constraints = (environments.ROOT / "constraints.txt").read_text().lower()
    for recipe in environments.RECIPES.values():
        for requirement in (word for step in recipe.steps for word in step):
            assert (
                requirement == "--no-deps"
                or "==" in requirement
                or f"\n{requirement.lower()}==" in constraints
            ), requirement


def test_an_environment_of_other_requirements_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches an old environment taken for the present one, and one half made for a whole one.
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    python = environments.python_of("torch_transformer")
    assert python.is_relative_to(tmp_path / "marian")
    python.parent.mkdir(parents=True)
    python.touch()
    assert not environments.is_made("marian")
    record = tmp_path / "marian" / environments.RECORD
    recipe = environments.RECIPES["marian"].to_json()
    record.write_text(json.dumps({"recipe": recipe, "versions": {"torch": "1"}}))
    assert environments.is_made("torch_transformer")
    assert environments.versions("marian") == {"torch": "1"}
    record.write_text(json.dumps({"recipe": [[["torch"]], []], "versions": {}}))
    assert not environments.is_made("marian")


def test_a_peer_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches a misspelt name that would make all environments.
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    assert environments.main(["openmt"]) == 2
    assert "no peer 'openmt'" in errors.getvalue()

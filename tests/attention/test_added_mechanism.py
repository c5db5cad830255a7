"""The walk-through of docs/adding-a-mechanism.md: its code joins the suite at run time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qvbench.attention import ATTENTION, build_attention
from tests.attention import test_every_pair

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-mechanism.md").read_text(encoding="utf-8")
GENERAL = re.findall(r"^pytest -p my_module (.*) -k linear_key$", PAGE, re.MULTILINE)[0].split()


LIST_ALL_CASES = """
import pathlib, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    pathlib.Path({listing!r}).write_text("\\n".join(item.nodeid for item in items))
"""


def register(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTENTION, "linear_key", object)  # and it is removed afterwards
    del ATTENTION["linear_key"]
    exec(compile(code, "my_module", "exec"), {"__name__": "added"})


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """The page's code as a module of somebody's own."""
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    file = tmp_path / "my_module.py"
    file.write_text(code, encoding="utf-8")
    return file


@pytest.mark.slow
def test_general_tests_take_up_a_mechanism_that_no_file_names(module):
    """Catches a list of mechanisms somewhere that a new one has to be written into: whichever test
    has a case of another mechanism has one of the new."""
    listing = module.with_name("cases")
    with module.open("a") as file:
        file.write(LIST_ALL_CASES.format(listing=str(listing)))
    paths = [str(module.parent), os.environ.get("PYTHONPATH", "")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "my_module", *GENERAL, "-k", "linear_key"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    cases = re.findall(r"^(\S+::\w+)\[(\S+)\]$", listing.read_text(), re.MULTILINE)
    of_another, of_the_new = (
        {test for test, case in cases if name in case} for name in ("keyless", "linear_key")
    )
    assert {test.split("/")[1] for test in of_the_new} == {path.split("/")[1] for path in GENERAL}
    assert of_another <= of_the_new


def test_general_tests_can_fail_on_it(module, monkeypatch):
    """Catches tests that take the new mechanism and check nothing of it."""
    code = module.read_text(encoding="utf-8")
    right = "self.split(self.value(m), self.num_heads)"
    wrong = "self.split(self.value(m - m.mean(1, True)), self.num_heads)"  # sees its neighbors
    steps = test_every_pair.test_steps_through_reorders_are_the_whole_pass
    register(code, monkeypatch)
    steps(("linear_key", {}), ("none", {}))
    assert right in code
    register(code.replace(right, wrong), monkeypatch)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        steps(("linear_key", {}), ("none", {}))


def test_with_the_identity_for_its_map_it_is_qv(module, monkeypatch):
    """The page's own identity."""
    register(module.read_text(encoding="utf-8"), monkeypatch)
    linear, qv = (build_attention(n, d_model=32, num_heads=4) for n in ("linear_key", "qv"))
    linear.load_state_dict(qv.state_dict(), strict=False)
    linear.key.weight.data.copy_(torch.eye(8))
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(linear(x, causal=True), qv(x, causal=True))

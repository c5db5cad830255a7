"""The walk-through of docs/adding-a-mechanism.md: its code joins the suite at run time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qvbench.attention import build_attention

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-mechanism.md").read_text(encoding="utf-8")
GENERAL = re.findall(r"^pytest -p my_module (.*) -k linear_key$", PAGE, re.MULTILINE)[0].split()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """The page's code as a module of somebody's own."""
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    file = tmp_path / "my_module.py"
    file.write_text(code, encoding="utf-8")
    return file


def pytest_with(module: Path, names: str, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(module.parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "my_module", "-k", names, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_general_tests_take_up_a_mechanism_that_no_file_names(module):
    """Catches a list of mechanisms somewhere that a new one has to be written into: whichever test
    has a case of another mechanism has one of the new."""
    result = pytest_with(module, "linear_key or keyless", *GENERAL)
    assert result.returncode == 0, result.stdout[-3000:]
    cases = re.findall(r"^(\S+::\w+)\[(\S+)\] PASSED", result.stdout, re.MULTILINE)
    of_another, of_the_new = (
        {test for test, case in cases if name in case} for name in ("keyless", "linear_key")
    )
    assert {Path(test.split("::")[0]).parts[1] for test in of_the_new} == {
        Path(path).parts[1] for path in GENERAL
    }
    assert of_another <= of_the_new


@pytest.mark.slow
def test_general_tests_can_fail_on_it(module):
    """Tests that collect the new mechanism and check nothing of it."""
    right = "self.split(self.value(m), self.num_heads)"
    code = module.read_text(encoding="utf-8")
    assert right in code
    wrong = "self.split(self.value(m - m.mean(1, True)), self.num_heads)"  # sees its neighbours
    module.write_text(code.replace(right, wrong), encoding="utf-8")
    result = pytest_with(module, "linear_key", "tests/attention/test_every_pair.py")
    assert result.returncode == 1, result.stdout[-3000:]


def test_with_the_identity_for_its_map_it_is_qv(module, monkeypatch):
    """The page's own identity."""
    from qvbench.attention import ATTENTION

    monkeypatch.setitem(ATTENTION, "linear_key", object)  # and it is removed afterwards
    del ATTENTION["linear_key"]
    exec(compile(module.read_text(encoding="utf-8"), str(module), "exec"), {"__name__": "added"})
    linear, qv = (build_attention(n, d_model=32, num_heads=4) for n in ("linear_key", "qv"))
    linear.load_state_dict(qv.state_dict(), strict=False)
    linear.key.weight.data.copy_(torch.eye(8))
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(linear(x, causal=True), qv(x, causal=True))

"""Which code a run says that it is of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import qvbench
from qvbench.runs.record import git_revision


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the package, a page and a result, all committed."""
    for name in ("qvbench/__init__.py", "configs/a.yaml", "docs/page.md", "results/table.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "all")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(qvbench, "__file__", str(tmp_path / "qvbench" / "__init__.py"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, "") for name in ("docs/page.md", "results/table.md", "notes.txt")),
        *((name, "+dirty") for name in ("qvbench/__init__.py", "configs/a.yaml")),
    ],
)
def test_changed_code_is_told(checkout: Path, name: str, told: str) -> None:
    """A result of code that nobody has, under a commit that everybody has; a benchmark that writes
    its page, and is said to be of uncommitted code from then on."""
    clean = git_revision()
    (checkout / name).write_text("2\n")
    assert len(clean) == 40
    assert git_revision() == clean + told


def test_an_installed_package_has_no_commit(checkout: Path) -> None:
    """The commit of a project that merely contains the environment."""
    subprocess.run(
        ["git", "-C", str(checkout), "rm", "-q", "--cached", "qvbench/__init__.py"], check=True
    )
    assert git_revision() == ""

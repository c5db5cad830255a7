"""Imports point down: no layer knows one above it, and the parts of one kind not one another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "qvbench"

# From the top. Modules and packages of one line may import one another; a line imports those below.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("profile", "sweep", "report", "inside"),
    ("tasks",),
    ("training", "decoding", "metrics", "models", "data"),
    ("attention",),
    ("positions",),
    ("runs",),
    ("config_files", "registry", "errors"),
)
# Within the fifth line: data and metrics know no model, and nothing knows training.
FORBIDDEN = (
    ("data", ("models", "decoding", "training", "metrics")),
    ("metrics", ("models", "decoding", "training", "data")),
    ("models", ("decoding", "training", "data", "metrics")),
    ("decoding", ("models", "training", "metrics")),
)
# What the mechanisms, and the schemes, have in common.
COMMON = {"interface", "core", "cache", "triton"}
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "configs" not in file.parts)


def module_of(file: Path) -> tuple[str, ...]:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports_of(text: str) -> set[tuple[str, ...]]:
    """The modules of the package that a file names, without the package; nested ones too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            names = (
                [f"{base}.{alias.name}" for alias in node.names] if base == "qvbench" else [base]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {tuple(n.split(".")[1:]) for n in names if n.startswith("qvbench.")}
    return {name for name in found if name[0] != "__version__"}


def test_imports_point_down() -> None:
    """Catches the first import upwards, which makes the next one easy."""
    wrong = []
    for file in FILES:
        name, found = ".".join(module_of(file)), imports_of(file.read_text(encoding="utf-8"))
        own = (module_of(file) or ("errors",))[0]  # the package itself imports nothing
        assert own in LEVEL, f"{own} has no place among the layers yet: give it one"
        for target in sorted({target[0] for target in found}):
            if LEVEL[target] < LEVEL[own] or target in dict(FORBIDDEN).get(own, ()):
                wrong.append(f"{name} imports {target}")
    assert len(FILES) > 50
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ["attention", "positions"])
def test_parts_of_a_kind_do_not_know_one_another(package: str) -> None:
    """Catches a mechanism built on another one's file instead of on what they share.

    What registers in ``__init__`` is a part; the files that two parts import are common ground.
    """
    init = (PACKAGE / package / "__init__.py").read_text(encoding="utf-8")
    parts = {name[1] for name in imports_of(init) if name[0] == package} - COMMON
    assert parts
    for part in parts:
        known = imports_of((PACKAGE / package / f"{part}.py").read_text(encoding="utf-8"))
        others = {name[1] for name in known if name[0] == package and len(name) > 1} & parts
        assert not others, f"{package}/{part}.py imports {others}"


def test_models_see_no_single_mechanism_or_scheme() -> None:
    """Catches a type switch in the model: a new mechanism would not be one file any more."""
    for folder in ("models", "tasks", "training", "decoding"):
        for file in (PACKAGE / folder).rglob("*.py"):
            for name in imports_of(file.read_text(encoding="utf-8")):
                if name[0] in ("attention", "positions") and len(name) > 1:
                    assert name[1] in COMMON, f"{file}: {'.'.join(name)}"


def test_the_reader_of_imports_reads_them() -> None:
    """Catches a reader that overlooks nested imports, so that all of the above would pass."""
    text = "import qvbench.data.module\ndef f():\n    from qvbench import cli\n"
    text += "from qvbench.attention.qv import QV\nimport os\n"
    assert imports_of(text) == {("data", "module"), ("cli",), ("attention", "qv")}

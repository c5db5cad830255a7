"""What is shipped: the wheel with its configs, the citation, the pins."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from qvbench import __version__
from qvbench.config_files import shipped_folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
CORE = {"torch", "lightning", "torchmetrics", "sacrebleu", "wandb", "jsonargparse"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return content


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without touching the checkout or the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.integration
def test_the_wheel_holds_code_and_configs(wheel: Path) -> None:
    """Catches configs that only a checkout has."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for config in shipped_folder().rglob("*.yaml"):
        assert f"qvbench/configs/{config.relative_to(shipped_folder()).as_posix()}" in names
    assert "qvbench/cli/main.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "runs/")) for name in names)


def print_config(site: Path, folder: Path, printed: Path) -> None:
    """A command of the package in ``site``, in a process that knows no other."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "qvbench"]:
        del sys.modules[name]
    sys.path.insert(0, str(site))
    os.chdir(folder)
    package, main = map(importlib.import_module, ("qvbench", "qvbench.cli.main"))
    for module in (package, main):
        assert str(module.__file__).startswith(str(site)), module.__file__
    with printed.open("w", encoding="utf-8") as sys.stdout:
        sys.exit(main.main(["fit", "--config", "qvka.yaml", "--print_config"]))


@pytest.mark.integration
def test_configs_are_found_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Catches a lookup that needs the repository: from an empty folder, in the installed package.

    The wheel is unpacked beside an empty folder: that is all that installing does to it.
    """
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    printed = tmp_path / "config.yaml"
    fork = multiprocessing.get_context("fork")  # imports of torch take longer than all the rest
    process = fork.Process(target=print_config, args=(site, empty, printed))
    process.start()
    process.join()
    assert process.exitcode == 0
    config = yaml.safe_load(printed.read_text(encoding="utf-8"))
    assert config["model"]["attention"]["class_path"].endswith("QVKa")
    assert not list(empty.iterdir())


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_six_are_core_dependencies(project: dict[str, Any]) -> None:
    assert {Requirement(line).name for line in project["dependencies"]} >= CORE
    assert "dev" in project["optional-dependencies"]


def pins(python: str) -> dict[str, str]:
    """The version of each package that constraints.txt gives for a Python."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        marker = requirement.marker
        full = f"{python}.0"
        if marker and not marker.evaluate({"python_version": python, "python_full_version": full}):
            continue
        assert requirement.name not in found, f"{requirement.name} is pinned twice for {python}"
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        found[requirement.name] = specifier.version
    return found


def test_the_oldest_pins_are_the_ranges_lower_ends(project: dict[str, Any]) -> None:
    """Catches a declared version that no test has run with."""
    text = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    pinned = {Requirement(line) for line in text.splitlines() if line and line[0] != "#"}
    oldest = {each.name: next(iter(each.specifier)).version for each in pinned}
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(lines for name, lines in extras.items() if name != "dev")]
    for requirement in (Requirement(line) for group in groups for line in group):
        (floor,) = (each for each in requirement.specifier if each.operator == ">=")
        assert (
            Version(oldest[requirement.name]).release[:2]
            == (*Version(floor.version).release, 0)[:2]
        )
        assert Version(oldest[requirement.name]) in requirement.specifier


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_range(python: str, project: dict[str, Any]) -> None:
    """Catches a dependency without a pin, and a pin that the range forbids."""
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): v for name, v in pins(python).items()}
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for line in (line for group in groups for line in group):
        requirement = Requirement(line)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name == "qvbench":
            continue
        assert name in pinned, f"{name} has no pin for Python {python}"
        assert requirement.specifier.contains(pinned[name]), f"{name} {pinned[name]}: {line}"


def test_an_older_torch_is_allowed(project: dict[str, Any]) -> None:
    """Catches a lower bound that shuts out the last PyTorch with code for a V100."""
    (torch,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "torch"]
    for version in ("2.6.0", "2.10.0", "2.13.0"):
        assert torch.specifier.contains(version)
    assert not torch.specifier.contains("3.0.0")


# The parts of the Citation File Format 1.2.0 that the file uses.
PERSON = {"family-names", "given-names", "orcid", "affiliation", "email"}
ENTITY = {"name", "website", "email"}
REFERENCE = {"type", "title", "authors", "year", "url", "identifiers", "doi", "journal"}
TOP = {
    "cff-version",
    "message",
    "type",
    "title",
    "abstract",
    "version",
    "license",
    "authors",
    "keywords",
    "references",
    "repository-code",
    "date-released",
}


def check_work(work: dict[str, Any], allowed: set[str], required: set[str]) -> None:
    assert required <= work.keys() <= allowed
    assert work["authors"]
    for author in work["authors"]:
        assert author.keys() <= (ENTITY if "name" in author else PERSON)
    for identifier in work.get("identifiers", []):
        assert {"type", "value"} <= identifier.keys() <= {"type", "value", "description"}
        assert identifier["type"] in ("doi", "url", "swh", "other")


def test_the_citation_is_valid() -> None:
    """Catches a key that the format does not know: GitHub would show no citation at all."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    check_work(citation, TOP, {"cff-version", "message", "title", "authors"})
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    for reference in citation["references"]:
        check_work(reference, REFERENCE, {"type", "title", "authors"})
        assert isinstance(reference["year"], int)
    papers = {reference["identifiers"][0]["value"] for reference in citation["references"]}
    assert papers == {"arXiv:2603.15665", "arXiv:2603.04805"}


def test_no_package_index_is_named() -> None:
    """Catches a pinned index: everybody's own pip settings decide where packages come from."""
    for name in (
        "Makefile",
        "constraints.txt",
        "pyproject.toml",
        ".ci/run",
        ".github/workflows/ci.yml",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"index-url|find-links|pypi", text, re.IGNORECASE), name

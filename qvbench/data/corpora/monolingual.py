"""Text in one language, or code: files of the user's own, Shakespeare, Python's own library."""

from __future__ import annotations

import glob
import os
import sysconfig
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from qvbench.data.cache import cache_root, expanded
from qvbench.data.corpora.corpus import MonolingualCorpus
from qvbench.data.corpora.files import check_published, fetch, file_sha256, local_copy, read_text
from qvbench.errors import UserError

_SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare"
_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_NO_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
_NO_LIBRARY |= {"pydoc_data"}  # is no code, but help texts in one large file


class Documents(MonolingualCorpus):
    """Documents one after the other, the last part of which is ``val``: of many all but one are
    whole, a single one is cut in two.

    Args:
        val_fraction: of all characters, for ``val``.
        selection_fraction: of all characters, those before ``val`` are no longer part of ``train``
            but the split ``selection``, to choose settings on. None for no such split.
    """

    def __init__(self, val_fraction: float, selection_fraction: float | None) -> None:
        held_out = {"val_fraction": val_fraction, "selection_fraction": selection_fraction}
        self.held_out = {name: f for name, f in held_out.items() if f is not None}
        for name, fraction in self.held_out.items():
            if not 0 < fraction < 1 or sum(self.held_out.values()) >= 1:
                raise UserError(
                    f"{type(self).__name__}: {name} must be between 0 and 1, and leave text to "
                    f"train on, got {fraction}"
                )

    @abstractmethod
    def documents(self) -> Iterator[str]:
        """All of them, in their order; UserError for one that is missing, damaged, or no UTF-8."""

    def splits(self) -> tuple[str, ...]:
        return ("train", "val", *(["selection"] if "selection_fraction" in self.held_out else []))

    def text(self, split: str) -> Iterator[str]:
        val = int(self._characters * (1 - self.held_out["val_fraction"]))
        selection = int(self._characters * (1 - sum(self.held_out.values())))
        bounds = {"train": (0, selection), "selection": (selection, val)}
        start, stop = bounds.get(split, (val, self._characters))
        place = 0
        for text in self.documents():
            if part := text[max(start - place, 0) : max(stop - place, 0)]:
                yield part
            place += len(text)

    @cached_property
    def _characters(self) -> int:
        return sum(map(len, self.documents()))


class Files(Documents):
    """Any UTF-8 files, text or code, plain or gzipped (by the name's ``.gz``), each a document.

    They are put in the order of their SHA-256. Names and places of files do not matter, their
    content does.

    Args:
        paths: files, or patterns such as ``src/**/*.py``; one, or a list.
        val_fraction: of all characters, for ``val``.
        selection_fraction: see :class:`Documents`.
        test: files, or patterns, of the split ``test``. None for no such split. Files of the same
            content are left out of the other splits, also where the paths name them.
    """

    def __init__(
        self,
        paths: list[str] | str,
        val_fraction: float = 0.1,
        selection_fraction: float | None = None,
        test: list[str] | str | None = None,
    ) -> None:
        super().__init__(val_fraction, selection_fraction)
        self.paths = [paths] if isinstance(paths, str) else paths
        self.test = [test] if isinstance(test, str) else test

    def files(self) -> list[Path]:
        """What the paths name.

        Raises:
            UserError: one of them names no file.
        """
        return named_files(self.paths)

    def splits(self) -> tuple[str, ...]:
        return (*super().splits(), *(["test"] if self.test is not None else []))

    def documents(self) -> Iterator[str]:
        return (read_text(path) for _, path in self._by_content)

    def text(self, split: str) -> Iterator[str]:
        if split == "test":
            return (read_text(path) for _, path in self._test_by_content)
        return super().text(split)

    def fingerprint(self) -> dict[str, object]:
        sha256 = [found for found, _ in self._by_content]
        test = [found for found, _ in self._test_by_content]
        held_out = {**self.held_out, **({"test": test} if test else {})}
        return {"corpus": "files", "sha256": sha256, **held_out}

    @cached_property
    def _by_content(self) -> list[tuple[str, Path]]:
        of_test = {sha256 for sha256, _ in self._test_by_content}
        left = [found for found in by_content(self.files()) if found[0] not in of_test]
        if of_test and not left:
            raise UserError("Files: test names all files of paths; leave some to train on")
        return left

    @cached_property
    def _test_by_content(self) -> list[tuple[str, Path]]:
        return [] if self.test is None else by_content(named_files(self.test))


def named_files(patterns: list[str]) -> list[Path]:
    """Files that paths, which may have brackets, or patterns name, each once, also where links lead
    to it; UserError if one of them names none, or there is none."""
    found: dict[str, Path] = {}
    for pattern in patterns:
        path = expanded(pattern)
        names = [path] if path.is_file() else glob.glob(str(path), recursive=True)  # noqa: PTH207
        files = {Path(name) for name in names if Path(name).is_file()}
        if not files:
            raise UserError(f"{pattern}: no such file, and no pattern that names some")
        found |= {os.path.realpath(file): file for file in sorted(files, reverse=True)}
    if not found:
        raise UserError("Files: the list of paths is empty; name at least one file")
    return sorted(found.values())


def by_content(files: list[Path]) -> list[tuple[str, Path]]:
    """SHA-256 of each file's text, and the file, in the order of the former."""
    return sorted((file_sha256(path, decompress=True), path) for path in files)


class Shakespeare(Files):
    """A million characters of Shakespeare's plays, "tiny Shakespeare" (Karpathy 2015).

    The last tenth is for validation, as in nanoGPT.

    Args:
        root: folder with a local copy, ``input.txt`` or ``input.txt.gz``; where none is given the
            file is downloaded into the cache.
        selection_fraction: see :class:`Documents`.
    """

    def __init__(self, root: str | None = None, selection_fraction: float | None = None) -> None:
        super().__init__([], selection_fraction=selection_fraction)
        self.root = root

    def files(self) -> list[Path]:
        if self.root is not None:
            return [local_copy(self.root, "input.txt", "input.txt.gz")]
        return [cache_root() / "downloads" / "shakespeare" / "input.txt"]

    def prepare(self) -> None:
        (file,) = self.files()
        if self.root is None:
            fetch(f"{_SHAKESPEARE}/input.txt", file, _SHAKESPEARE_SHA256)
        else:
            remedy = "leave root out to download it, or use the corpus Files for text of your own"
            check_published(file, _SHAKESPEARE_SHA256, remedy)

    def fingerprint(self) -> dict[str, object]:
        # The text is the published one wherever it lies: prepare() verifies it.
        split = {k: v for k, v in self.held_out.items() if k != "val_fraction"}
        return {"corpus": "shakespeare", "sha256": _SHAKESPEARE_SHA256, **split}


class PythonLibrary(Files):
    """The source of the standard library of the Python that runs, without its tests.

    Code that is on every machine. Another version of Python is another text, with another
    fingerprint.

    Args:
        val_fraction: of all characters, for ``val``.
        selection_fraction: see :class:`Documents`.
    """

    def __init__(self, val_fraction: float = 0.1, selection_fraction: float | None = None) -> None:
        super().__init__([], val_fraction, selection_fraction)

    def files(self) -> list[Path]:
        library = Path(sysconfig.get_path("stdlib"))
        files = library.rglob("*.py")
        return sorted(f for f in files if not _NO_LIBRARY & {*f.relative_to(library).parts})

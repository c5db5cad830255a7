"""WMT17 English-German as in the paper's recipe: statmt's preprocessed corpus."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from qvbench.data.cache import cache_root, write_fault
from qvbench.data.corpora.checksums import (
    Record,
    check_record,
    known_text_sha256,
    read_record,
    write_record,
)
from qvbench.data.corpora.download import fetch_recorded
from qvbench.data.corpora.interface import Corpus, NotFetchedError
from qvbench.data.corpora.lines import read_crawled_pairs, read_pairs
from qvbench.data.locks import locked
from qvbench.errors import UserError

URL = "http://data.statmt.org/wmt17/translation-task/preprocessed/de-en/"

_LANGUAGES = ("en", "de")
_PARTS = {
    "train": ("corpus.tc",),
    "val": ("newstest2014.tc", "newstest2015.tc"),
    "newstest2016": ("newstest2016.tc",),
}
_TRAIN = [f"corpus.tc.{language}" for language in _LANGUAGES]
_DEV = [
    f"{stem}.{language}"
    for split, stems in _PARTS.items()
    if split != "train"
    for stem in stems
    for language in _LANGUAGES
]
_ARCHIVE = "dev.tgz"


class Wmt17(Corpus):
    """WMT17 as its organizers preprocessed it: 5.9 million pairs, Moses-tokenized, truecased.

    Validation is newstest2014 and 2015, the test set newstest2016. Training pairs with an empty
    side, of which crawled text has some, are dropped and counted when the corpus is stored.

    Args:
        root: folder with local copies, ``corpus.tc.{en,de}`` and ``newstest201{4,5,6}.tc.{en,de}``
            (plain or ``.gz``; the latter also in a folder ``dev``); where none is given the
            files are downloaded into the cache.
        url: address of the folder that holds ``corpus.tc.{en,de}.gz`` and ``dev.tgz``.
    """

    tokenized = True

    def __init__(self, root: str | None = None, url: str = URL) -> None:
        self.root = root
        self.url = url
        self._source: _Source = _Published(url) if root is None else _Local(root)

    def prepare(self) -> None:
        self._source.prepare()

    def splits(self) -> tuple[str, ...]:
        return tuple(_PARTS)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        if split not in _PARTS:
            raise UserError(f"WMT17: unknown split {split!r}; known are {', '.join(_PARTS)}")
        read = read_crawled_pairs if split == "train" else read_pairs
        return chain.from_iterable(
            read(*(self._source.path(f"{stem}.{language}") for language in _LANGUAGES))
            for stem in _PARTS[split]
        )

    def fingerprint(self) -> dict[str, object]:
        # Of the decompressed text: local copies and a download are one corpus.
        sha256 = {name: self._source.text_sha256(name) for name in (*_TRAIN, *_DEV)}
        return {"corpus": "wmt17", "sha256": sha256}

    def plan(self) -> list[str]:
        return self._source.plan()


class _Source(ABC):
    """Where the files lie. Names are without ``.gz``, such as ``corpus.tc.en``."""

    @abstractmethod
    def prepare(self) -> None:
        """Make sure that all files are there and are what they were."""

    @abstractmethod
    def path(self, name: str) -> Path:
        """Where a file lies."""

    @abstractmethod
    def text_sha256(self, name: str) -> str:
        """SHA-256 of a file's decompressed text."""

    @abstractmethod
    def plan(self) -> list[str]:
        """What :meth:`prepare` would do."""


class _Local(_Source):
    """A folder of the user's; its lines are checked when they are read."""

    def __init__(self, root: str) -> None:
        self._root = Path(root).expanduser()

    def prepare(self) -> None:
        for name in (*_TRAIN, *_DEV):
            self.path(name)

    def path(self, name: str) -> Path:
        """Raises :class:`UserError` where there is no such file; says where it is published."""
        for folder in (self._root, self._root / "dev"):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
        raise UserError(
            f"{self._root / name}: no such file, nor {name}.gz; fetch corpus.tc.{{en,de}}.gz and "
            f"{_ARCHIVE} from {URL} and unpack {_ARCHIVE} there, or leave root out: then "
            "they are downloaded"
        )

    def text_sha256(self, name: str) -> str:
        return known_text_sha256(self.path(name))

    def plan(self) -> list[str]:
        return [f"read {self.path(name)}" for name in (*_TRAIN, *_DEV)]


class _Published(_Source):
    """Downloads in the cache, one folder for each address."""

    def __init__(self, url: str) -> None:
        self._url = url if url.endswith("/") else f"{url}/"

    @property
    def _folder(self) -> Path:
        name = "wmt17"
        if self._url != URL:
            name += f"-{hashlib.sha256(self._url.encode()).hexdigest()[:8]}"
        return cache_root() / "downloads" / name

    def prepare(self) -> None:
        for name in (*_TRAIN, _ARCHIVE):
            path = self._download_of(name)
            fetch_recorded(self._url + path.name, path)
        archive = self._folder / _ARCHIVE
        with locked(self._folder / ".unpack.lock", f"unpacking {_ARCHIVE}"):
            for name in _DEV:
                _unpack(archive, name, self._folder / name)

    def path(self, name: str) -> Path:
        return self._download_of(name)

    def text_sha256(self, name: str) -> str:
        record = read_record(self.path(name))
        if record is None:
            raise NotFetchedError(
                f"{self.path(name)}: has not been fetched; run `qvbench prepare` with this config"
            )
        return record.text_sha256

    def plan(self) -> list[str]:
        return [
            f"{'verify' if path.is_file() else 'fetch'} {self._url}{path.name} "
            f"{'in' if path.is_file() else 'into'} {self._folder}"
            for path in map(self._download_of, (*_TRAIN, _ARCHIVE))
        ]

    def _download_of(self, name: str) -> Path:
        """The training text stays compressed; the development sets are unpacked."""
        return self._folder / (f"{name}.gz" if name in _TRAIN else name)


def _unpack(archive: Path, name: str, path: Path) -> None:
    """Make sure that ``path`` holds the archive's file ``name``, in whatever folder it is there.

    Raises:
        UserError: the archive has no such file, or the file on the disk is another by now.
    """
    record = read_record(path)
    if record is not None and path.is_file():
        check_record(path, record)
        return
    temporary = path.with_name(f".{path.name}.part")
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = next((m for m in tar if PurePosixPath(m.name).name == name), None)
            content = tar.extractfile(member) if member else None
            if content is None:
                raise UserError(
                    f"{archive}: has no file {name}; remove it, it will be fetched anew"
                )
            with content, temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
        write_record(path, Record.of(archive.name, temporary))
        temporary.replace(path)
    except (tarfile.TarError, EOFError, zlib.error) as fault:
        raise UserError(
            f"{archive}: is no archive that can be unpacked ({fault}); remove it and "
            f"{archive.name}.json, they will be fetched anew"
        ) from None
    except OSError as fault:
        raise write_fault(path, fault) from None
    finally:
        temporary.unlink(missing_ok=True)

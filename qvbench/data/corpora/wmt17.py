"""WMT17 English-German: statmt's preprocessed corpus, and raw text from the Hugging Face hub."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from qvbench.data.cache import cache_root, locked, write_error
from qvbench.data.corpora.corpus import Corpus, NotFetchedError
from qvbench.data.corpora.download import fetch, record, recorded_sha256, verify
from qvbench.data.corpora.files import file_sha256, read_pairs
from qvbench.data.progress import track
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
    for stem in chain(_PARTS["val"], _PARTS["newstest2016"])
    for language in _LANGUAGES
]
_ARCHIVE = "dev.tgz"


def _recorded(path: Path) -> str:
    """SHA-256 of a download's text, which need not be on the disk any more."""
    sha256 = recorded_sha256(path)
    if sha256 is None:
        raise NotFetchedError(
            f"{path}: has not been fetched; run `qvbench prepare` with this config"
        )
    return sha256


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
        self.url = url if url.endswith("/") else f"{url}/"

    def prepare(self) -> None:
        if self.root is not None:
            for name in (*_TRAIN, *_DEV):
                self._path(name)
            return
        for path in self._downloads():
            fetch(self.url + path.name, path)
        with locked(self._folder / ".unpack.lock", f"unpacking {_ARCHIVE}"):
            for name in _DEV:
                _unpack(self._folder / _ARCHIVE, name, self._path(name))

    def splits(self) -> tuple[str, ...]:
        return tuple(_PARTS)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        self.check_split(split)
        return chain.from_iterable(
            read_pairs(
                self._path(f"{stem}.en"), self._path(f"{stem}.de"), allow_empty=split == "train"
            )
            for stem in _PARTS[split]
        )

    def fingerprint(self) -> dict[str, object]:
        # Of the decompressed text: local copies and a download are one corpus.
        sha256 = {
            name: _recorded(self._path(name))
            if self.root is None
            else file_sha256(self._path(name), decompress=True)
            for name in (*_TRAIN, *_DEV)
        }
        return {"corpus": "wmt17", "sha256": sha256}

    def plan(self) -> list[str]:
        if self.root is not None:
            return [f"read {self._path(name)}" for name in (*_TRAIN, *_DEV)]
        return [
            f"{'verify' if path.is_file() else 'fetch'} {self.url}{path.name} "
            f"{'in' if path.is_file() else 'into'} {self._folder}"
            for path in self._downloads()
        ]

    @property
    def _folder(self) -> Path:
        """Of the downloads: one for each address."""
        suffix = "" if self.url == URL else f"-{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"
        return cache_root() / "downloads" / f"wmt17{suffix}"

    def _downloads(self) -> list[Path]:
        return [*map(self._path, _TRAIN), self._folder / _ARCHIVE]

    def _path(self, name: str) -> Path:
        """Where a file lies, such as ``corpus.tc.en``.

        Raises:
            UserError: it is not among the local copies.
        """
        if self.root is None:  # the training text stays compressed, the others are unpacked
            return self._folder / (f"{name}.gz" if name in _TRAIN else name)
        root = Path(self.root).expanduser()
        for path in (root / name, root / "dev" / name):
            for found in (path, path.with_name(f"{name}.gz")):
                if found.is_file():
                    return found
        raise UserError(
            f"{root / name}: no such file, nor {name}.gz; fetch corpus.tc.{{en,de}}.gz and "
            f"{_ARCHIVE} from {URL} and unpack {_ARCHIVE} there, or leave root out: then "
            "they are downloaded"
        )


def _unpack(archive: Path, name: str, path: Path) -> None:
    """Make sure that ``path`` holds the archive's file ``name``, in whatever folder it is there.

    Raises:
        UserError: the archive has no such file, or the file on the disk is another by now.
    """
    if path.is_file():
        verify(path, recorded_sha256(path))
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
        record(path, archive.name, file_sha256(temporary))
        temporary.replace(path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(
            f"{archive}: is no archive that can be unpacked ({error}); remove it and "
            f"{archive.name}.json, they will be fetched anew"
        ) from None
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


_CONFIG = "de-en"
_ROWS_AT_ONCE = 10_000


class _Part(NamedTuple):
    """One split of one data set on the hub.

    Attributes:
        name: ours, of the files in the cache.
        repository: on the hub.
        split: there.
        streaming: read this split alone; else the hub's client fetches the whole ``de-en``, in
            files that it keeps and resumes.
    """

    name: str
    repository: str
    split: str
    streaming: bool

    @property
    def address(self) -> str:
        return f"{self.repository}/{_CONFIG}/{self.split}"

    @property
    def files(self) -> tuple[Path, Path]:
        folder = cache_root() / "downloads" / "wmt17-raw"
        return folder / f"{self.name}.en", folder / f"{self.name}.de"


# wmt17 itself has neither newstest2014 nor 2015: they are wmt15's development and test sets.
_RAW_PARTS = {
    "train": (_Part("train", "wmt/wmt17", "train", False),),
    "val": (
        _Part("newstest2014", "wmt/wmt15", "validation", True),
        _Part("newstest2015", "wmt/wmt15", "test", True),
    ),
    "newstest2016": (_Part("newstest2016", "wmt/wmt17", "validation", False),),
    "newstest2017": (_Part("newstest2017", "wmt/wmt17", "test", False),),
}
_ALL_RAW_PARTS = tuple(chain.from_iterable(_RAW_PARTS.values()))


class Wmt17Raw(Corpus):
    """WMT17's raw text from the hub's data set ``wmt/wmt17``, for one's own tokenization.

    Splits are those of the paper's setup, and newstest2017 as a second test set. The text is
    written into the cache once, line-aligned, with checksums that are compared ever after. Needs
    the package ``datasets`` that once: ``pip install 'qvbench[hub]'``.
    """

    tokenized = False

    def prepare(self) -> None:
        for part in _ALL_RAW_PARTS:
            with locked(part.files[0].with_name(f".{part.name}.lock"), f"fetching {part.name}"):
                here = [file for file in part.files if file.is_file()]
                for file in here:
                    verify(file, recorded_sha256(file))
                if len(here) < len(part.files):
                    _fetch_part(part)

    def splits(self) -> tuple[str, ...]:
        return tuple(_RAW_PARTS)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        self.check_split(split)
        return chain.from_iterable(
            read_pairs(*part.files, allow_empty=split == "train") for part in _RAW_PARTS[split]
        )

    def fingerprint(self) -> dict[str, object]:
        files = chain.from_iterable(part.files for part in _ALL_RAW_PARTS)
        return {"corpus": "wmt17_raw", "sha256": {file.name: _recorded(file) for file in files}}

    def plan(self) -> list[str]:
        return [
            f"verify {part.files[0].with_suffix('')}.{{en,de}}"
            if all(file.is_file() for file in part.files)
            else f"fetch {part.repository} ({_CONFIG}, {part.split}) from the hub "
            f"into {part.files[0].with_suffix('')}.{{en,de}}"
            for part in _ALL_RAW_PARTS
        ]


def _fetch_part(part: _Part) -> None:
    """Write a part's two files, each line of one the translation of that of the other.

    Raises:
        UserError: the hub cannot be read, the disk not be written, or the text is another than
            it was when it was written before.
    """
    temporary = [file.with_name(f".{file.name}.part") for file in part.files]
    try:
        with ExitStack() as stack:
            sides = [stack.enter_context(file.open("wb")) for file in temporary]
            for row in track(_rows(part), f"fetching {part.name}"):
                for side, language in zip(sides, _LANGUAGES, strict=True):
                    side.write(_one_line(row[language]))
        for source, file in zip(temporary, part.files, strict=True):
            before, now = recorded_sha256(file), file_sha256(source)
            if before not in (None, now):
                raise UserError(
                    f"{part.address}: the hub's text is not what it was at the first download "
                    f"(SHA-256 {now[:12]}…, recorded {str(before)[:12]}…); remove the folder "
                    f"{file.parent} to go on with the new one"
                )
            record(file, part.address, now)
            source.replace(file)
    except OSError as error:
        raise write_error(part.files[0], error) from None
    finally:
        for file in temporary:
            file.unlink(missing_ok=True)


def _one_line(text: str) -> bytes:
    """A row's text as one line of a file; a few rows have line breaks inside."""
    return (" ".join(text.replace("\r", "\n").split("\n")) + "\n").encode()


def _rows(part: _Part) -> Iterator[dict[str, str]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(
            "wmt17_raw needs the package datasets to read the hub; pip install 'qvbench[hub]'"
        ) from None
    try:
        data: Any = load_dataset(
            part.repository, _CONFIG, split=part.split, streaming=part.streaming
        )
        for batch in data.iter(batch_size=_ROWS_AT_ONCE):
            yield from batch["translation"]
    except GeneratorExit:
        raise
    except Exception as error:  # the hub's client raises those of several HTTP packages
        raise UserError(
            f"{part.repository} ({_CONFIG}, {part.split}): could not be read from the Hugging Face "
            f"hub ({error}); check the network, or use the corpus Text with files of your own"
        ) from None

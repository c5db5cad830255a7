"""WMT17 English-German: statmt's preprocessed corpus, and raw text from the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

from qvbench.data.cache import cache_root, track
from qvbench.data.corpora.corpus import Corpus
from qvbench.data.corpora.files import (
    fetch,
    file_sha256,
    local_copy,
    once,
    read_pairs,
    recorded_sha256,
    verify,
)
from qvbench.data.corpora.hub import hub_rows
from qvbench.errors import UserError
from qvbench.runs.folder import replacing

URL = "http://data.statmt.org/wmt17/translation-task/preprocessed/de-en/"

_PARTS = {
    "train": ("corpus.tc",),
    "val": ("newstest2014.tc", "newstest2015.tc"),
    "newstest2016": ("newstest2016.tc",),
}
_TRAIN = ("corpus.tc.en", "corpus.tc.de")
_DEV = tuple(f"newstest{year}.tc.{side}" for year in (2014, 2015, 2016) for side in ("en", "de"))
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

    def __init__(self, root: str | None = None, url: str = URL) -> None:
        if "://" not in url:
            raise UserError(f"Wmt17: url {url} has no scheme; write it like {URL}")
        self.root = root
        self.url = url if url.endswith("/") else f"{url}/"

    def prepare(self) -> None:
        if self.root is not None:
            return  # the fingerprint has found every file
        for name in (*(f"{text}.gz" for text in _TRAIN), _ARCHIVE):
            fetch(self.url + name, self._folder / name)
        dev = [self._path(name) for name in _DEV]
        once(dev, lambda: _unpack(self._folder / _ARCHIVE), f"unpacking {_ARCHIVE}")
        for name in _DEV:
            verify(self._path(name), _ARCHIVE)

    def splits(self) -> tuple[str, ...]:
        return tuple(_PARTS)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        return chain.from_iterable(
            read_pairs(self._path(f"{stem}.en"), self._path(f"{stem}.de"), split == "train")
            for stem in _PARTS[split]
        )

    def fingerprint(self) -> dict[str, object]:
        # Of the decompressed text: local copies and a download are one corpus.
        paths = {name: self._path(name) for name in (*_TRAIN, *_DEV)}
        sha256 = {
            name: file_sha256(path, decompress=True) if self.root else recorded_sha256(path)
            for name, path in paths.items()
        }
        return {"corpus": "wmt17", "sha256": sha256}

    @property
    def _folder(self) -> Path:
        """Of the downloads: one for each address."""
        suffix = "" if self.url == URL else f"-{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"
        return cache_root() / "downloads" / f"wmt17{suffix}"

    def _path(self, name: str) -> Path:
        """Where a file lies, such as ``corpus.tc.en``."""
        if self.root is None:  # the training text stays compressed, the others are unpacked
            return self._folder / (f"{name}.gz" if name in _TRAIN else name)
        return local_copy(self.root, name, f"{name}.gz", f"dev/{name}", f"dev/{name}.gz")


def _unpack(archive: Path) -> None:
    """Write the development sets beside their archive, in whatever folder of it they are."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = {PurePosixPath(member.name).name: member for member in tar}
            for name in _DEV:
                content = tar.extractfile(members[name])
                with replacing(archive.with_name(name)) as file:
                    file.write(content.read() if content else b"")
    except (tarfile.TarError, KeyError) as error:
        raise UserError(
            f"{archive}: is no archive with all of {', '.join(_DEV)} ({error}); remove it and "
            f"{archive.name}.json, they will be fetched anew"
        ) from None


# Files in the cache, by data set and split on the hub; wmt17 itself has neither newstest2014 nor
# 2015: they are wmt15's development and test sets.
_HUB = {
    "train": ("wmt/wmt17", "train"),
    "newstest2014": ("wmt/wmt15", "validation"),
    "newstest2015": ("wmt/wmt15", "test"),
    "newstest2016": ("wmt/wmt17", "validation"),
    "newstest2017": ("wmt/wmt17", "test"),
}
_RAW_PARTS = {
    "train": ("train",),
    "val": ("newstest2014", "newstest2015"),
    "newstest2016": ("newstest2016",),
    "newstest2017": ("newstest2017",),
}


def _raw_files(name: str) -> tuple[Path, Path]:
    folder = cache_root() / "downloads" / "wmt17-raw"
    return folder / f"{name}.en", folder / f"{name}.de"


def _fetch_raw(name: str) -> None:
    repository, split = _HUB[name]
    # Of wmt15, streaming reads the split alone; of wmt17, the hub's client fetches all of de-en, in
    # files that it keeps and resumes.
    streaming = repository == "wmt/wmt15"
    rows = hub_rows(repository, "translation", split, name="de-en", streaming=streaming)
    with ExitStack() as stack:
        sides = [stack.enter_context(replacing(file)) for file in _raw_files(name)]
        for row in track(rows, f"fetching {name}"):
            for side, text in zip(sides, (row["en"], row["de"]), strict=True):
                # A few rows have line breaks inside.
                side.write((" ".join(re.split("[\r\n]", text)) + "\n").encode())


class Wmt17Raw(Corpus):
    """WMT17's raw text from the hub's data set ``wmt/wmt17``, for one's own tokenization.

    Splits are those of the paper's setup, and newstest2017 as a second test set. The text is
    written into the cache once, line-aligned, with checksums that are compared ever after. Needs
    the package ``datasets`` that once: ``pip install 'qvbench[hub]'``.
    """

    tokenized = False

    def prepare(self) -> None:
        for name, (repository, _) in _HUB.items():
            files = _raw_files(name)
            once(files, partial(_fetch_raw, name), f"fetching {name}")
            for file in files:
                verify(file, f"the hub's {repository}")

    def splits(self) -> tuple[str, ...]:
        return tuple(_RAW_PARTS)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        return chain.from_iterable(
            read_pairs(*_raw_files(name), allow_empty=split == "train")
            for name in _RAW_PARTS[split]
        )

    def fingerprint(self) -> dict[str, object]:
        files = chain.from_iterable(map(_raw_files, _HUB))
        return {
            "corpus": "wmt17_raw",
            "sha256": {file.name: recorded_sha256(file) for file in files},
        }

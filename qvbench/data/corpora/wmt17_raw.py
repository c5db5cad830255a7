"""WMT17 English-German as it was published, untokenized: from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.data.cache import cache_root, make_folder, write_fault
from qvbench.data.corpora.checksums import Record, check_record, read_record, write_record
from qvbench.data.corpora.interface import Corpus, NotFetchedError
from qvbench.data.corpora.lines import read_crawled_pairs, read_pairs
from qvbench.data.locks import locked
from qvbench.data.progress import track
from qvbench.errors import UserError

_CONFIG = "de-en"
_LANGUAGES = ("en", "de")
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


# wmt17 itself has neither newstest2014 nor 2015: they are wmt15's development and test sets.
_PARTS = {
    "train": (_Part("train", "wmt/wmt17", "train", False),),
    "val": (
        _Part("newstest2014", "wmt/wmt15", "validation", True),
        _Part("newstest2015", "wmt/wmt15", "test", True),
    ),
    "newstest2016": (_Part("newstest2016", "wmt/wmt17", "validation", False),),
    "newstest2017": (_Part("newstest2017", "wmt/wmt17", "test", False),),
}


class Wmt17Raw(Corpus):
    """WMT17's raw text from the hub's data set ``wmt/wmt17``, for one's own tokenization.

    Splits are those of the recipe, and newstest2017 as a second test set. The text is written
    into the cache once, line-aligned, with checksums that are compared ever after. Needs the
    package ``datasets`` that once: ``pip install 'qvbench[hub]'``.
    """

    tokenized = False

    def prepare(self) -> None:
        for part in chain.from_iterable(_PARTS.values()):
            files = _files(part)
            with locked(files[0].with_name(f".{part.name}.lock"), f"fetching {part.name}"):
                records = [read_record(file) for file in files]
                here = [
                    (file, record)
                    for file, record in zip(files, records, strict=True)
                    if record is not None and file.is_file()
                ]
                for file, record in here:
                    check_record(file, record)
                if len(here) < len(files):
                    _write(part, files, records)

    def splits(self) -> tuple[str, ...]:
        return tuple(_PARTS)

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        if split not in _PARTS:
            raise UserError(f"WMT17: unknown split {split!r}; known are {', '.join(_PARTS)}")
        read = read_crawled_pairs if split == "train" else read_pairs
        return chain.from_iterable(read(*_files(part)) for part in _PARTS[split])

    def fingerprint(self) -> dict[str, object]:
        sha256 = {}
        for file in chain.from_iterable(map(_files, chain.from_iterable(_PARTS.values()))):
            record = read_record(file)
            if record is None:
                raise NotFetchedError(
                    f"{file}: has not been fetched; run `qvbench prepare` with this config"
                )
            sha256[file.name] = record.text_sha256
        return {"corpus": "wmt17_raw", "sha256": sha256}

    def plan(self) -> list[str]:
        return [
            f"verify {_files(part)[0].with_suffix('')}.{{en,de}}"
            if all(file.is_file() for file in _files(part))
            else f"fetch {part.repository} ({_CONFIG}, {part.split}) from the hub "
            f"into {_files(part)[0].with_suffix('')}.{{en,de}}"
            for part in chain.from_iterable(_PARTS.values())
        ]


def _files(part: _Part) -> tuple[Path, Path]:
    folder = cache_root() / "downloads" / "wmt17-raw"
    return folder / f"{part.name}.en", folder / f"{part.name}.de"


def _write(part: _Part, files: tuple[Path, Path], records: list[Record | None]) -> None:
    """Write a part's two files, each line of the one the translation of that of the other.

    Raises:
        UserError: the hub cannot be read, the disk not be written, or the text is another than
            it was when it was written before.
    """
    make_folder(files[0].parent)
    temporary = [file.with_name(f".{file.name}.part") for file in files]
    try:
        with ExitStack() as stack:
            sides = [
                stack.enter_context(file.open("w", encoding="utf-8", newline="\n"))
                for file in temporary
            ]
            for row in track(_rows(part), f"fetching {part.name}"):
                for side, language in zip(sides, _LANGUAGES, strict=True):
                    side.write(_one_line(row[language]))
        for source, file, before in zip(temporary, files, records, strict=True):
            record = Record.of(f"{part.repository}/{_CONFIG}/{part.split}", source)
            if before is not None and before.sha256 != record.sha256:
                raise UserError(
                    f"{record.url}: the hub's text is not what it was at the first download "
                    f"(SHA-256 {record.sha256[:12]}…, recorded {before.sha256[:12]}…); remove "
                    f"the folder {file.parent} to go on with the new one"
                )
            write_record(file, record)
            source.replace(file)
    except OSError as fault:
        raise write_fault(files[0], fault) from None
    finally:
        for file in temporary:
            file.unlink(missing_ok=True)


def _one_line(text: str) -> str:
    """A row's text as one line of a file; a few rows have line breaks inside."""
    return " ".join(text.replace("\r", "\n").split("\n")) + "\n"


def _rows(part: _Part) -> Iterator[dict[str, str]]:
    for batch in _from_hub(part):
        yield from batch["translation"]


def _from_hub(part: _Part) -> Iterator[Any]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(
            "wmt17_raw needs the package datasets to read the hub; pip install 'qvbench[hub]'"
        ) from None
    place = f"{part.repository} ({_CONFIG}, {part.split})"
    try:
        data = load_dataset(part.repository, _CONFIG, split=part.split, streaming=part.streaming)
        yield from data.iter(batch_size=_ROWS_AT_ONCE)
    except GeneratorExit:
        raise
    except Exception as fault:  # the hub's client raises those of several HTTP packages
        raise UserError(
            f"{place}: could not be read from the Hugging Face hub ({fault}); check the network, "
            "or use the corpus Text with files of your own"
        ) from None

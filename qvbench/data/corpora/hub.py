"""The Hugging Face hub: rows of its data sets, and any text on it as a corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qvbench.data.cache import cache_root, track
from qvbench.data.corpora.files import once, recorded_sha256, verify
from qvbench.data.corpora.monolingual import Documents
from qvbench.errors import UserError
from qvbench.runs.folder import replacing

_ROWS = 10_000  # read at once


def hub_rows(repository: str, column: str, split: str, **options: Any) -> Iterator[Any]:
    """A column of a split of a data set, row by row.

    Args:
        options: further ones of ``datasets.load_dataset``: ``name`` of a configuration,
            ``revision``, ``streaming``.

    Raises:
        UserError: the package ``datasets`` is missing, or the rows cannot be read.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(
            f"{repository} needs the package datasets to read the hub; pip install 'qvbench[hub]'"
        ) from None
    where = ", ".join(filter(None, (options.get("name"), split)))
    try:
        data: Any = load_dataset(repository, split=split, **options)
        for batch in data.iter(batch_size=_ROWS):
            if column not in batch:
                raise UserError(f"{repository}: no column {column}; it has {', '.join(batch)}")
            yield from batch[column]
    except UserError:
        raise
    except Exception as error:  # the hub's client raises those of several HTTP packages
        raise UserError(
            f"{repository} ({where}): could not be read from the Hugging Face hub ({error}); "
            "check name and network, or use a corpus of files of your own"
        ) from None


class Hub(Documents):
    """Text of a data set on the Hugging Face hub, for language models: a row is a document.

    The rows are streamed, so that of a set of terabytes only what is used is fetched, and written
    into the cache once, with a checksum that is compared ever after. Needs the package ``datasets``
    that once: ``pip install 'qvbench[hub]'``.

    Args:
        name: of the data set, such as ``HuggingFaceFW/fineweb-edu``.
        config: its configuration, where it has several.
        column: that holds the text.
        split: of the data set that is read, from its first row on.
        characters: how many to read; the last document is read to its end.
        revision: commit, branch or tag of the data set; the newest if not given.
        val_fraction: of all characters, for ``val``.
        selection_fraction: see :class:`Documents`.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        column: str = "text",
        split: str = "train",
        characters: int = 100_000_000,
        revision: str | None = None,
        val_fraction: float = 0.01,
        selection_fraction: float | None = None,
    ) -> None:
        super().__init__(val_fraction, selection_fraction)
        if characters < 1:
            raise UserError(f"Hub: characters must be at least 1, got {characters}")
        self.name = name
        self.options = {"name": config, "revision": revision}
        self.column, self.split, self.characters = column, split, characters

    @property
    def file(self) -> Path:
        """The documents in the cache, each a line of JSON."""
        what = (self.name, *self.options.values(), self.split, self.column, self.characters)
        name = ",".join(quote(str(part or ""), safe="") for part in what)  # which has no comma
        return cache_root() / "downloads" / "hub" / f"{name}.jsonl"

    def prepare(self) -> None:
        once([self.file], self._fetch, f"fetching {self.name}")
        verify(self.file, f"the hub's {self.name}")

    def _fetch(self) -> None:
        left = self.characters
        rows = hub_rows(self.name, self.column, self.split, streaming=True, **self.options)
        with replacing(self.file) as opened:
            for text in track(rows, f"fetching {self.name}"):
                if not isinstance(text, str):
                    kind = type(text).__name__
                    raise UserError(f"{self.name}: {self.column} holds {kind}, not text")
                document = text if text.endswith("\n") else f"{text}\n"
                opened.write(f"{json.dumps(document)}\n".encode())
                left -= len(document)
                if left <= 0:
                    break

    def documents(self) -> Iterator[str]:
        with self.file.open(encoding="ascii") as lines:
            yield from map(json.loads, lines)

    def fingerprint(self) -> dict[str, object]:
        return {"corpus": "hub", "sha256": recorded_sha256(self.file), **self.held_out}

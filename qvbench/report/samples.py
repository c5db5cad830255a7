"""What resampling needs of a run: counts by validation sentence, and the test's lines."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qvbench.errors import UserError

SENTENCES = "sentences.npz"
LINES = ("test-translations.txt", "test-references.txt")
Counts = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Samples:
    """What a run left beside its record; runs of before these files were kept left nothing.

    Args:
        sentences: arrays of ``sentences.npz``: ``tokens`` (S,), ``last_right`` (S,) and others.
        translations: of the test set, plain text.
        references: one for each translation.
    """

    sentences: dict[str, Counts] | None = None
    translations: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


def samples_in(folder: Path) -> Samples:
    """Those of a run's own folder."""
    texts = [_lines(folder / name) for name in LINES]
    return _checked(_sentences(folder / SENTENCES), texts, folder)


def gathered_samples(record: Path) -> Samples:
    """Those beside a record in a results folder."""
    texts: list[list[str]] = [[], []]
    packed = record.with_suffix(".lines.gz")
    if packed.is_file():
        try:
            pairs = gzip.decompress(packed.read_bytes()).decode("utf-8").splitlines()
            texts = [[pair.split("\t")[side] for pair in pairs] for side in (0, 1)]
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise UserError(f"{packed}: cannot be read as a test's lines: {error}") from error
    return _checked(_sentences(record.with_suffix(".npz")), texts, record)


def gather_samples(samples: Samples, record: Path) -> None:
    """Write them beside a record, the same bytes for the same content."""
    if samples.sentences is not None:
        packed = io.BytesIO()
        arrays: dict[str, Any] = dict(samples.sentences)
        np.savez_compressed(packed, **arrays)
        record.with_suffix(".npz").write_bytes(packed.getvalue())
    if samples.translations:
        pairs = zip(samples.translations, samples.references, strict=True)
        text = "".join(f"{a.replace(chr(9), ' ')}\t{b.replace(chr(9), ' ')}\n" for a, b in pairs)
        record.with_suffix(".lines.gz").write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


def _checked(sentences: dict[str, Counts] | None, texts: list[list[str]], place: Path) -> Samples:
    if len(texts[0]) != len(texts[1]):
        raise UserError(
            f"{place}: {len(texts[0])} translations of the test set for {len(texts[1])} references"
        )
    return Samples(sentences, tuple(texts[0]), tuple(texts[1]))


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []


def _sentences(file: Path) -> dict[str, Counts] | None:
    if not file.is_file():
        return None
    try:
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: cannot be read as counts by sentence: {error}") from error
    if not {"tokens", "last_right"} <= arrays.keys():
        raise UserError(f"{file}: no counts by sentence in it")
    return arrays

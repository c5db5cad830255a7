"""Arrays that grow on the disk while they are written, and never lie in memory as a whole."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from qvbench.data.vocabulary import Vocabulary


class ArrayFile:
    """Writes a ``.npy`` file of one dimension piece by piece.

    Its length enters the header when the file is closed. NumPy leaves room in the header of version
    1.0 for a length of 21 digits, so that it can be written again in its place.

    Args:
        path: of the file.
        dtype: of the entries.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._file = path.open("wb")
        self._begin = self._write_header()

    def append(self, values: bytes | npt.NDArray[Any]) -> None:
        """Write entries, as an array or as their bytes."""
        if isinstance(values, np.ndarray):
            values = np.ascontiguousarray(values, self.dtype).tobytes()
        self._file.write(values)
        self.length += len(values) // self.dtype.itemsize

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                if self._write_header() != self._begin:
                    raise AssertionError("NumPy's header changed its length")
        finally:
            self._file.close()

    def _write_header(self) -> int:
        """Write the header at the present place; returns where the entries begin."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length,),
        }
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()


class SideWriter:
    """Writes the sentences of one side of a split, and counts.

    Args:
        stem: folder and name of the split.
        side: ``source`` or ``target``.
        vocabulary: of the ids.
        dtype: of the ids.
    """

    def __init__(self, stem: Path, side: str, vocabulary: Vocabulary, dtype: np.dtype[Any]) -> None:
        self._files = ExitStack()
        folder, name = stem.parent, f"{stem.name}.{side}"
        self._ids = self._files.enter_context(ArrayFile(folder / f"{name}.npy", dtype))
        self._offsets = self._files.enter_context(
            ArrayFile(folder / f"{name}.offsets.npy", np.int64)
        )
        self._offsets.append(np.zeros(1, dtype=np.int64))
        self._counts = np.zeros(len(vocabulary), dtype=np.int64)
        self._longest = 0

    def __enter__(self) -> SideWriter:
        return self

    def __exit__(self, *fault: Any) -> None:
        self._files.__exit__(*fault)

    def append(self, sentences: list[bytes]) -> None:
        """Write sentences, given as the bytes of their ids."""
        ids = np.frombuffer(b"".join(sentences), dtype=self._ids.dtype)
        lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
        lengths //= self._ids.dtype.itemsize
        self._offsets.append(self._ids.length + np.cumsum(lengths))
        self._ids.append(ids)
        self._counts += np.bincount(ids, minlength=len(self._counts))
        self._longest = max(self._longest, int(lengths.max(initial=0)))

    def summary(self) -> dict[str, int]:
        """Counts for the manifest."""
        return {
            "subwords": self._ids.length,
            "unknown": int(self._counts[Vocabulary.unk]),
            "longest": self._longest,
            "entries": int(np.count_nonzero(self._counts)),
        }

"""A ``.npy`` file of one dimension that grows while it is written."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt


class ArrayFile:
    """Writes an array piece by piece; its length enters the header when the file is closed.

    NumPy leaves room in the header of version 1.0 for a length of 21 digits, so that it can be
    written again in its place.

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

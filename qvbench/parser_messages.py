"""jsonargparse's messages, several lines of types and alternatives, as one line to act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from qvbench.attention import ATTENTION
from qvbench.data.corpora import CORPORA
from qvbench.positions import POSITIONS


def one_line(message: str, options: Iterable[str] = ()) -> str:
    return " ".join(message.split())

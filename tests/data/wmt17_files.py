"""Files in exactly the layout in which statmt publishes WMT17's preprocessed corpus."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable

from qvbench.data.corpora import Grammar

Pairs = list[tuple[str, str]]
YEARS = (2014, 2015, 2016)


def published(train: Pairs, dev: dict[int, Pairs]) -> dict[str, bytes]:
    """``corpus.tc.{en,de}.gz``, and ``dev.tgz`` that unpacks to a file a set and language."""
    members = {
        f"newstest{year}.tc.{language}": text(pair[side] for pair in pairs)
        for year, pairs in dev.items()
        for side, language in enumerate(("en", "de"))
    }
    corpora = {
        f"corpus.tc.{language}.gz": gzip.compress(text(pair[side] for pair in train))
        for side, language in enumerate(("en", "de"))
    }
    return {**corpora, "dev.tgz": archive(members)}


def archive(members: dict[str, bytes]) -> bytes:
    """A gzipped tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def from_grammar(train_pairs: int = 300) -> tuple[Pairs, dict[int, Pairs]]:
    """Training pairs, and a development set a year."""
    corpus = Grammar(train_pairs, 30, 20)
    val, test = list(corpus.pairs("val")), list(corpus.pairs("test"))
    return list(corpus.pairs("train")), {2014: val[:20], 2015: val[20:], 2016: test}

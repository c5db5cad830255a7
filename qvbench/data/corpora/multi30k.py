"""Multi30k, task 1: 29,000 captions of photographs in English, German, French and Czech.

Elliott et al. 2016, "Multi30K: Multilingual English-German Image Descriptions"; the 2017 test set
and the French side of Elliott et al. 2017, the Czech one of Barrault et al. 2018. Source:
github.com/multi30k/dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from qvbench.data.cache import cache_root
from qvbench.data.corpora.corpus import Corpus
from qvbench.data.corpora.files import check_published, fetch, local_copy, read_pairs
from qvbench.errors import UserError

_URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"
_TRAIN_PAIRS = 29_000
_SPLITS = ("train", "val", "test_2016_flickr", "test_2017_flickr")
_REMOTE_NAME = {"raw": "raw/{split}.{language}.gz", "tok": "tok/{split}.lc.norm.tok.{language}"}

# By form and name, of the decompressed text: the bytes of a gzip file depend on who compressed it.
_SHA256: dict[str, dict[str, str]] = {"raw": {}, "tok": {}}
for _line in Path(__file__).with_suffix(".sha256").read_text(encoding="ascii").splitlines():
    _sum, _form, _name = _line.replace("/", " ").split()
    _SHA256[_form][_name] = _sum


class Multi30k(Corpus):
    """Captions and their translations, fetched from the authors' repository.

    Args:
        root: folder with local copies, ``train.en.gz``, ``train.de.gz``, ``val.…``,
            ``test_2016_flickr.…``, ``test_2017_flickr.…`` (or the same without ``.gz``, or the
            repository's own names); where none is given the files are downloaded into the cache.
        form: ``raw``: untokenized, as written; ``tok``: lower-cased, normalized and tokenized by
            the authors, the form in which published text-only results are given (en and de).
        source: language to translate from.
        target: language to translate into. Of French and Czech there is no 2017 test set here.
        selection_pairs: so many pairs at the end of the training text are no longer part of
            ``train`` but the split ``selection``, to choose settings on. None for no such split.
    """

    def __init__(
        self,
        root: str | None = None,
        form: Literal["raw", "tok"] = "raw",
        source: Literal["en", "de", "fr", "cs"] = "en",
        target: Literal["en", "de", "fr", "cs"] = "de",
        selection_pairs: int | None = None,
    ) -> None:
        if selection_pairs is not None and not 0 < selection_pairs < _TRAIN_PAIRS:
            raise UserError(
                f"Multi30k: selection_pairs is {selection_pairs}; give 1 to {_TRAIN_PAIRS - 1:,}"
            )
        self.selection_pairs = selection_pairs
        self.root = root
        self.form = form
        self.tokenized = form == "tok"
        self.source_language, self.target_language = source, target
        published = _SHA256.get(form, {})
        files = {split: (f"{split}.{source}", f"{split}.{target}") for split in _SPLITS}
        self._splits = {split: pair for split, pair in files.items() if {*pair} <= {*published}}
        if source == target or not self._splits:
            raise UserError(
                f"Multi30k: there is no {source} to {target} in the form {form}; choose two of en, "
                "de, fr and cs for raw, of en and de for tok"
            )
        self._sha256 = {name: published[name] for pair in self._splits.values() for name in pair}

    def prepare(self) -> None:
        for name, sha256 in self._sha256.items():
            url, path = self._url(name), self._path(name)
            if self.root is None:
                fetch(url, path, sha256)
            else:
                remedy = f"fetch {url}, or use the corpus Text for data of your own"
                check_published(path, sha256, remedy)

    def splits(self) -> tuple[str, ...]:
        return (*self._splits, *(["selection"] if self.selection_pairs else []))

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        source, target = self._splits["train" if split == "selection" else split]
        pairs = read_pairs(self._path(source), self._path(target))
        if self.selection_pairs is None or split not in ("train", "selection"):
            return pairs
        first = _TRAIN_PAIRS - self.selection_pairs
        return islice(pairs, first) if split == "train" else islice(pairs, first, None)

    def fingerprint(self) -> dict[str, object]:
        # The text is the published one wherever it lies: prepare() has verified it.
        languages = [self.source_language, self.target_language]
        return {
            "corpus": "multi30k",
            "form": self.form,
            "sha256": self._sha256,
            # English-German had no name before there were others; its fingerprint stays.
            **({} if languages == ["en", "de"] else {"languages": languages}),
            **({"selection_pairs": self.selection_pairs} if self.selection_pairs else {}),
        }

    def _url(self, name: str) -> str:
        split, language = name.rsplit(".", 1)
        return f"{_URL}/{_REMOTE_NAME[self.form].format(split=split, language=language)}"

    def _path(self, name: str) -> Path:
        remote = self._url(name).rsplit("/", 1)[1]
        if self.root is None:
            return cache_root() / "downloads" / f"multi30k-{self.form}" / remote
        return local_copy(self.root, f"{name}.gz", name, remote)

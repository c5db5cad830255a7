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
from qvbench.data.corpora.files import fetch, file_sha256, local_copy, read_pairs
from qvbench.errors import UserError

_URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"
_TRAIN_PAIRS = 29_000
_SPLITS = ("train", "val", "test_2016_flickr", "test_2017_flickr")
_REMOTE_NAME = {"raw": "raw/{split}.{language}.gz", "tok": "tok/{split}.lc.norm.tok.{language}"}

# SHA-256 of the decompressed text: the bytes of a gzip file depend on who compressed it. The 2017
# test set has no Czech side.
_SHA256 = {
    "raw": {
        "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
        "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
        "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
        "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
        "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
        "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
        "test_2017_flickr.en": "ce1450ddc5ab0834502579d77a170849952e15a2938b34cc503bdc25ebb4fb98",
        "test_2017_flickr.de": "c3078bc3b36808bf9d20eb2347ed6137016179ef59ec0d2b9b8ecc3fb2880081",
        "train.fr": "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d",
        "val.fr": "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc",
        "test_2016_flickr.fr": "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6",
        "train.cs": "2be68b38c8d586ff4f54eb13cc6e1baaaa053695b3f070d3038303a47f2268da",
        "val.cs": "d53827e469b0a1ca8d57e9e26b2b64c4bc4b33f5479c7b03ae87ae5c882c3e33",
        "test_2016_flickr.cs": "45adb85f688de8407fddcbe1b36dca15d12aab868149b337e2576f2d6d2ff8d8",
    },
    "tok": {
        "train.en": "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
        "train.de": "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
        "val.en": "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
        "val.de": "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
        "test_2016_flickr.en": "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
        "test_2016_flickr.de": "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
        "test_2017_flickr.en": "c9d1dfd7a26add989382e534af235af9f0f658b2a30e7eb0efdaf142496ee54f",
        "test_2017_flickr.de": "02067e4a9402786a4fcb8c1b6f4307e4a5073ced64800abead5273b54f5f31f6",
    },
}


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
        self._splits = {
            split: (f"{split}.{source}", f"{split}.{target}")
            for split in _SPLITS
            if {f"{split}.{source}", f"{split}.{target}"} <= set(published)
        }
        if source == target or not self._splits:
            raise UserError(
                f"Multi30k: there is no {source} to {target} in the form {form}; choose two of en, "
                "de, fr and cs for raw, of en and de for tok"
            )
        self._sha256 = {name: published[name] for pair in self._splits.values() for name in pair}

    def prepare(self) -> None:
        for name, sha256 in self._sha256.items():
            if self.root is None:
                fetch(self._url(name), self._path(name), sha256)
            elif (found := file_sha256(self._path(name), decompress=True)) != sha256:
                raise UserError(
                    f"{self._path(name)}: is not the published file (SHA-256 of its text is "
                    f"{found[:12]}…, should be {sha256[:12]}…); fetch {self._url(name)}, or use "
                    "the corpus Text for data of your own"
                )

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

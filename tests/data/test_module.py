"""The data module as the trainer, the task and the command line use it."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from qvbench.data.corpora import Grammar, Text
from qvbench.data.language import LanguageDataModule
from qvbench.data.synthetic import SyntheticDataModule
from qvbench.data.translation import _IDS_VERSION, TranslationDataModule
from qvbench.errors import UserError
from tests.data.conftest import sentences, write_pair

Make = Callable[..., TranslationDataModule]


def test_lines_are_the_corpus_s(data_module: Make, tmp_path: Path) -> None:
    """Catches references that went through the tokenizer or the vocabulary, which flatters a BLEU
    score, lines split at U+2028, and a test that needs the corpus again."""
    lines = ["It's  RAW\u2028text", "“more” …"], ["Ω ist\x85neu", "zwei"]
    train = write_pair(tmp_path, "train", ["a b"] * 3, ["a b"] * 3)
    test = write_pair(tmp_path, "unseen", *lines)
    module = data_module(corpus=Text(train, test, {"test": test}, tokenized=False), lowercase=True)
    for path in test:
        Path(path).unlink()
    for split in ("val", "test"):
        assert (module.lines(split, "source"), module.lines(split, "target")) == lines


def test_the_test_set_can_be_chosen(
    data_module: Make, text_corpus: Callable[..., Text], tmp_path: Path
) -> None:
    """Catches a test on the default set under another set's name."""
    small = write_pair(tmp_path, "small", ["a", "b"], ["c", "d"])
    files = tuple(map(str, text_corpus().files["test"]))
    corpus = text_corpus(test={"first": files, "small": small})
    sizes = {}
    for name in (None, "first", "small"):
        module = data_module(corpus=corpus, test_split=name)
        loaders = module.test_dataloader(), module.predict_dataloader()
        sizes[name] = [sum(len(batch.index) for batch in loader) for loader in loaders]
    assert sizes == {None: [13, 13], "first": [13, 13], "small": [2, 2]}
    for unknown in ("val", "third"):
        with pytest.raises(UserError, match=r"no such set; known are first, small"):
            TranslationDataModule(corpus, test_split=unknown)


def test_the_validation_set_can_be_chosen(data_module: Make) -> None:
    """Catches a search that scores its settings on the set that reports them."""
    corpus = Grammar(40, 5, 5, selection_pairs=7)
    sizes = []
    for name in (None, "val", "selection"):
        loader = data_module(corpus=corpus, val_split=name, eval_max_tokens=999).val_dataloader()
        sizes.append(sum(len(batch.index) for batch in loader))
    assert sizes == [5, 5, 7]
    with pytest.raises(UserError, match="val_split=train: no such set; known are val, test, sel"):
        TranslationDataModule(corpus, val_split="train")


def test_lowercase_reaches_both_sides(data_module: Make, tmp_path: Path) -> None:
    """Catches a setting that one side ignores."""
    pair = write_pair(tmp_path, "pair", ["Ein MANN"] * 3, ["Über A"] * 3)
    module = data_module(corpus=Text(pair, pair, {"test": pair}, tokenized=True), lowercase=True)
    split = module.split("test")
    assert module.vocabulary.decode(split.source.ids[: split.source.offsets[1]]) == "ein mann"
    assert module.vocabulary.decode(split.target.ids[: split.target.offsets[1]]) == "über a"


def test_raw_text_is_tokenized_before_it_is_stored(data_module: Make, tmp_path: Path) -> None:
    """Catches punctuation glued to words, and references that were tokenized."""
    pair = write_pair(tmp_path, "pair", ["It's a man, isn't it?"] * 3, ["Ein Mann, nicht?"] * 3)
    module = data_module(corpus=Text(pair, pair, {"test": pair}, tokenized=False))
    split = module.split("test")
    words = module.vocabulary.decode(split.target.ids[: split.target.offsets[1]])
    assert words == "Ein Mann , nicht ?"
    assert module.processor.detokenize(words) == module.lines("test", "target")[0]


def test_golden(data_module: Make, tmp_path: Path) -> None:
    """Catches ids that change while the version, hence every store, does not.

    A change that is meant: raise ``_IDS_VERSION`` and replace the values.
    """
    odd = ["It's “ÜBER” <s>, x_y \u2581 & 漢字!"] * 3
    train = write_pair(tmp_path, "train", [*sentences(60, 0), *odd], [*sentences(60, 1), *odd])
    test = write_pair(tmp_path, "unseen", ["a Ω dog's"], ["Männer, “die”"])
    module = data_module(
        corpus=Text(train, test, {"test": test}, tokenized=False),
        **{"lowercase": True, "max_length": 15, "max_ratio": 3, "max_vocabulary": 96},
    )
    splits = [module.split(name) for name in ("train", "test")]
    ids = [side.ids.tolist() for split in splits for side in (split.source, split.target)]
    digest = hashlib.sha256(repr(ids).encode()).hexdigest()
    assert (_IDS_VERSION, digest[:16]) == (2, "c36f993ecb9e5d2f")


def test_budgets_name_their_setting(data_module: Make) -> None:
    """Catches a message that names the other budget."""
    with pytest.raises(UserError, match="max_tokens=5 is smaller than a sentence"):
        data_module(max_tokens=5).train_dataloader()
    with pytest.raises(UserError, match="eval_max_tokens=5 is smaller than a sentence"):
        data_module(eval_max_tokens=5).val_dataloader()


@pytest.mark.parametrize("name", ["max_tokens", "eval_max_tokens", "max_length", "num_workers"])
def test_a_size_below_zero_is_refused_at_once(data_module: Make, name: str) -> None:
    """Catches a sampler that makes no batch at all, hours after the command line was read."""
    with pytest.raises(UserError, match=f"{name} must be at least"):
        data_module(**{name: -1})


class OnRank:
    def __init__(self, rank: int, world_size: int = 2) -> None:
        self.global_rank, self.world_size = rank, world_size


def test_a_rank_takes_its_share(data_module: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Catches ranks that all train on the same batches, and a silent tail."""
    whole = [tuple(batch.index.tolist()) for batch in data_module().train_dataloader()]
    shares = []
    for rank in range(2):
        module = data_module()
        module.trainer = OnRank(rank)  # type: ignore[assignment]
        with caplog.at_level("INFO"):
            shares.append([tuple(batch.index.tolist()) for batch in module.train_dataloader()])
    assert shares == [whole[0::2][: len(whole) // 2], whole[1::2]]
    share = f"{len(whole) // 2} batches per epoch for each of 2 processes"
    assert f"{share}, {len(whole) % 2} left out" in caplog.text


@pytest.mark.filterwarnings("ignore:.*Deprecat")
@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ({"class_path": "Grammar", "init_args": {"train_pairs": 50}}, Grammar),
        (
            {
                "class_path": "Text",
                "init_args": {"train": ["a", "b"], "val": ["a", "b"], "test": {"news": ["a", "b"]}},
            },
            Text,
        ),
    ],
)
def test_a_config_names_its_corpus_by_class(corpus: dict[str, Any], expected: type) -> None:
    """Catches a corpus that YAML cannot name, or whose settings it cannot write."""
    parser = ArgumentParser()
    parser.add_class_arguments(TranslationDataModule, "data")
    made = parser.instantiate_classes(parser.parse_object({"data": {"corpus": corpus}}))
    assert isinstance(made.data.corpus, expected)


def test_every_setting_is_explained_by_help() -> None:
    """Catches a parameter without a line in the docstring, hence without help."""
    for module in (TranslationDataModule, LanguageDataModule, SyntheticDataModule):
        parser = ArgumentParser()
        parser.add_class_arguments(module, "data")
        for action in parser._actions:
            if action.dest.startswith("data."):
                assert action.help not in (None, "", argparse.SUPPRESS), action.dest

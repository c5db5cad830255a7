"""Corpora: every fault of a file is one line that names the file and the line."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qvbench.data.corpora import (
    Files,
    Multi30k,
    Text,
    multi30k,
)
from qvbench.data.corpora.files import file_sha256, read_pairs, read_text
from qvbench.data.language import LanguageDataModule
from qvbench.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def put(path: Path, text: bytes) -> Path:
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("names", [("a.en", "a.de"), ("a.en.gz", "a.de.gz"), ("a.en", "a.de.gz")])
def test_plain_and_gzipped_files_read_alike(tmp_path: Path, names: tuple[str, str]) -> None:
    """Catches lines split at U+2028, at a lone carriage return or NEL, which are inside a line."""
    source = put(tmp_path / names[0], "a b\r\nc\u2028d\x85e\n".encode())
    target = put(tmp_path / names[1], "ä\r\n x ".encode())
    assert list(read_pairs(source, target)) == [("a b", "ä"), ("c\u2028d\x85e", "x")]


FAULTS = {
    "fewer target lines": (b"a\nb\nc\n", b"a\nb\n", r"a\.en has 3 lines but \S+a\.de has 2"),
    "fewer source lines": (b"a\n", b"a\nb\n", r"a\.en has 1 lines but \S+a\.de has 2"),
    "not UTF-8": (b"a\nb\n", b"a\n\xfcber\n", r"a\.de:2: not UTF-8 \(byte 0xfc, 1 in its line\)"),
    "empty source": (b"a\n\nc\n", b"a\nb\nc\n", r"a\.en:2: empty line"),
    "blank target": (b"a\nb\n", b"a\n \t\n", r"a\.de:2: empty line"),
    "no lines": (b"", b"", r"a\.en: has no lines, nor has \S+a\.de"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_file_and_line(tmp_path: Path, fault: str) -> None:
    """Catches misaligned pairs, which train without complaint."""
    source, target, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as caught:
        list(read_pairs(put(tmp_path / "a.en", source), put(tmp_path / "a.de", target)))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Catches a first word that is another one than elsewhere, in files written on Windows."""
    lines, text = "\ufeffa b\r\n\ufeffc\r\n".encode(), "a b\r\n\ufeffc\r\n"
    source, target = (put(tmp_path / name, lines) for name in ("a.en", "a.de.gz"))
    assert list(read_pairs(source, target)) == [("a b", "a b"), ("\ufeffc", "\ufeffc")]
    assert read_text(source) == read_text(target) == text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Catches a traceback over a typing error."""
    with pytest.raises(UserError, match=r"nowhere\.en: no such file"):
        list(read_pairs(tmp_path / "nowhere.en", put(tmp_path / "a.de", b"a\n")))


@pytest.mark.parametrize("damage", ["cut off", "garbled", "no gzip"])
def test_a_damaged_gzip_file_is_named(tmp_path: Path, damage: str) -> None:
    """Catches a truncated download that trains on half the corpus."""
    text = "".join(f"line {n} {n * n % 977}\n" for n in range(2000)).encode()
    packed = gzip.compress(text)
    garbled = packed[:40] + bytes(byte ^ 0xFF for byte in packed[40:])
    half = packed[: len(packed) // 2]
    source, target = tmp_path / "a.en.gz", put(tmp_path / "a.de", text)
    source.write_bytes({"cut off": half, "garbled": garbled, "no gzip": b"plain text\n"}[damage])
    with pytest.raises(UserError, match=r"a\.en\.gz: damaged or cut off gzip"):
        list(read_pairs(source, target))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """Catches a traceback over a folder given for a file."""
    with pytest.raises(UserError, match="cannot be read"):
        list(read_pairs(tmp_path, tmp_path))


@pytest.mark.parametrize(
    "make",
    [
        lambda path: Text((path, path), (path, path), {"test": (path, path)}),
        lambda path: Files(path).files(),
        lambda path: Multi30k(path).prepare(),
        lambda path: LanguageDataModule(Files("a"), tokenizer=path),
    ],
)
def test_a_home_that_is_nobody_s_is_named(make: Callable[[str], object]) -> None:
    """Catches a traceback over a typing error."""
    with pytest.raises(UserError, match="~nobody-here/a: ~nobody-here is no user's home"):
        make("~nobody-here/a")


class TestText:
    def test_splits_are_named_and_read(self, text_corpus: Callable[..., Text]) -> None:
        """Catches sets that are swapped."""
        corpus = text_corpus()
        corpus.prepare()
        assert corpus.splits() == ("train", "val", "test")
        assert len(list(corpus.pairs("val"))) == 17

    def test_several_test_sets_keep_their_order(self, text_corpus: Callable[..., Text]) -> None:
        """Catches the default test set being another than the first."""
        files = text_corpus().files
        pair = tuple(map(str, files["test"]))
        corpus = text_corpus(test={"news": pair, "talks": pair})
        assert corpus.splits() == ("train", "val", "news", "talks")

    @pytest.mark.parametrize("name", ["train", "val", "a/b", ""])
    def test_names_that_cannot_be_stored_are_refused(
        self, text_corpus: Callable[..., Text], name: str
    ) -> None:
        """Catches a test set that overwrites the training set, or leaves the store."""
        with pytest.raises(UserError, match="cannot name a test set"):
            text_corpus(test={name: ("a", "b")})

    def test_no_test_set_is_refused(self, text_corpus: Callable[..., Text]) -> None:
        """Catches an IndexError when a model is trained and shall be tested."""
        with pytest.raises(UserError, match="name at least one"):
            text_corpus(test={})

    def test_preparing_finds_a_missing_file(self, text_corpus: Callable[..., Text]) -> None:
        """Catches a file that is missed after an hour."""
        with pytest.raises(UserError, match=r"none\.de: no such file"):
            text_corpus(val=(__file__, "none.de")).fingerprint()

    def test_the_fingerprint_follows_the_text_and_not_the_place(
        self, text_corpus: Callable[..., Text], tmp_path: Path
    ) -> None:
        """Catches stored ids that outlive a change of their text."""
        before = text_corpus().fingerprint()
        copies = []
        for path in text_corpus().files["val"]:
            copies.append(tmp_path / f"copy-{path.name}")
            copies[-1].write_bytes(path.read_bytes())
        pair = tuple(map(str, copies))
        assert text_corpus(val=pair).fingerprint() == before
        copies[0].write_text(copies[0].read_text().replace("man", "cat"))
        assert text_corpus(val=pair).fingerprint() != before
        assert text_corpus(tokenized=False).fingerprint() != before
        assert text_corpus(target_language="fr").fingerprint() != before


class TestMulti30k:
    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Files of two lines each, published as far as the class knows."""
        for form, names in multi30k._SHA256.items():
            sha256 = {}
            for name in names:
                path = put(tmp_path / f"{name}.gz", f"a {name}\nb {name}\n".encode())
                sha256[name] = file_sha256(path, decompress=True)
            monkeypatch.setitem(multi30k._SHA256, form, sha256)
        return tmp_path

    @pytest.mark.parametrize(
        ("form", "source", "target"),
        [("raw", "en", "de"), ("tok", "en", "de"), ("raw", "de", "en"), ("raw", "fr", "cs")],
    )
    def test_local_copies_are_read(self, root: Path, form: Any, source: Any, target: Any) -> None:
        """Catches sides that are swapped, and a tokenizer of another language."""
        corpus = Multi30k(str(root), form, source, target)
        corpus.prepare()
        assert corpus.tokenized is (form == "tok")
        assert (corpus.source_language, corpus.target_language) == (source, target)
        sides = [f"val.{source}", f"val.{target}"]
        assert list(corpus.pairs("val")) == [(f"{n} {sides[0]}", f"{n} {sides[1]}") for n in "ab"]
        assert len(corpus.splits()) == (4 if {source, target} == {"en", "de"} else 3)

    def test_a_selection_split_is_the_end_of_the_training_text(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Catches settings chosen on pairs that are trained on, and a cache shared with all of
        the training text."""
        monkeypatch.setattr(multi30k, "_TRAIN_PAIRS", 2)
        whole, parted = Multi30k(str(root)), Multi30k(str(root), selection_pairs=1)
        assert parted.splits() == (*whole.splits(), "selection")
        assert [*parted.pairs("train"), *parted.pairs("selection")] == list(whole.pairs("train"))
        assert len(list(parted.pairs("selection"))) == 1
        assert parted.fingerprint() != whole.fingerprint()
        with pytest.raises(UserError, match="selection_pairs is 2; give 1 to 1"):
            Multi30k(str(root), selection_pairs=2)

    @pytest.mark.parametrize("name", ["train.en", "train.lc.norm.tok.en"])
    def test_uncompressed_copies_and_the_repository_s_names_do_too(
        self, root: Path, name: str
    ) -> None:
        """Catches a user who has to rename what they downloaded."""
        (root / name).write_bytes(gzip.decompress((root / "train.en.gz").read_bytes()))
        (root / "train.en.gz").unlink()
        Multi30k(str(root), "tok").prepare()

    def test_another_or_no_text_is_refused(self, root: Path) -> None:
        """Catches a run on changed captions that reports Multi30k."""
        put(root / "val.de.gz", b"other\ntext\n")
        with pytest.raises(UserError, match=r"val\.de\.gz: is not the published file.*Text"):
            Multi30k(str(root)).prepare()
        (root / "train.de.gz").unlink()
        with pytest.raises(UserError, match=r"train\.de\.gz: no such file"):
            Multi30k(str(root)).prepare()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"form": "bpe"}, "no en to de in the form bpe"),
            ({"target": "it"}, "no en to it in the form raw; choose two of en"),
            ({"form": "tok", "target": "fr"}, "no en to fr in the form tok"),
            ({"source": "de"}, "no de to de"),
        ],
    )
    def test_settings_are_checked(self, settings: dict[str, Any], message: str) -> None:
        """Catches a run that stops at a download that does not exist."""
        with pytest.raises(UserError, match=message):
            Multi30k(**settings)

    def test_every_form_and_direction_has_a_fingerprint(self, root: Path) -> None:
        """Catches German ids taken for English ones: both directions are made of the same files."""
        assert Multi30k(str(root)).fingerprint() == Multi30k().fingerprint()
        corpora = [
            Multi30k(),
            Multi30k(form="tok"),
            Multi30k(source="de", target="en"),
            Multi30k(target="fr"),
        ]
        assert len({json.dumps(corpus.fingerprint()) for corpus in corpora}) == 4
        assert list(Multi30k().fingerprint()) == ["corpus", "form", "sha256"]

    @pytest.mark.parametrize(
        ("form", "source", "target"),
        [("raw", "en", "de"), ("tok", "en", "de"), ("raw", "en", "fr"), ("raw", "cs", "en")],
    )
    def test_the_published_text_has_the_published_counts(
        self, form: Any, source: Any, target: Any
    ) -> None:
        """Catches a wrong checksum in the code."""
        folder = SHARED / f"multi30k-{form}"
        if not folder.is_dir():
            pytest.skip("needs a local copy of Multi30k, which is not part of the repository")
        corpus = Multi30k(str(folder), form, source, target)
        corpus.prepare()
        counts = [sum(1 for _ in corpus.pairs(split)) for split in corpus.splits()]
        assert counts == [29_000, 1_014, 1_000, 1_000][: len(counts)]


def test_naming_corpora_needs_no_heavy_package() -> None:
    """Catches an import that makes whoever names a corpus wait for seconds; NumPy takes a tenth."""
    code = (
        "import sys, qvbench.data.corpora;"
        "sys.exit(not {'torch', 'lightning', 'tokenizers', 'rich'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

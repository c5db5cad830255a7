"""Text as windows: corpora, tokenizers, stores, and an order that resumes exactly."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from qvbench.data import language
from qvbench.data.batching import EvaluationWindows, TrainWindows
from qvbench.data.corpora import Files, Grammar, MonolingualCorpus, PythonLibrary, Shakespeare
from qvbench.data.corpora import monolingual as corpora
from qvbench.data.corpora.synthetic import NO_TOKEN
from qvbench.data.language import LanguageDataModule, StoredText, pieces
from qvbench.errors import UserError
from tests.data.conftest import sentences

Make = Callable[..., LanguageDataModule]

TEXT = "".join(f"{line} é “Ω”\r\n\tdone\n\n" for line in sentences(150, 0))


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    return tmp_path / "text.txt"


@pytest.fixture
def module(text_file: Path, tmp_path: Path) -> Make:
    """Makes a data module over the text, in characters; set up already."""

    def make(**settings: Any) -> LanguageDataModule:
        settings.setdefault("corpus", Files([str(text_file)]))
        sizes = {"context": 16, "max_tokens": 80, "eval_max_tokens": 50}
        cache = str(tmp_path / "cache")
        made = LanguageDataModule(**{**sizes, "cache_dir": cache, "vocab_size": 300, **settings})
        made.setup()
        return made

    return make


def whole(corpus: MonolingualCorpus) -> str:
    return "".join(text for split in ("train", "val") for text in corpus.text(split))


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "bpe"])
@pytest.mark.parametrize("piece", [7, 1 << 18])
def test_the_stored_ids_are_the_text(
    module: Make, tokenizer: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches line ends that are translated, spaces that are lost, a piece left out or cut within
    a character, and bits per byte of characters."""
    monkeypatch.setattr(language, "_PIECE", piece)
    made = module(tokenizer=tokenizer)
    stored = {name: made.vocabulary.decode(made.split(name).ids) for name in ("train", "val")}
    cut = int(len(TEXT) * 0.9)
    assert stored == {"train": TEXT[:cut], "val": TEXT[cut:]}
    tokens = len(made.split("val"))
    assert made.bytes_per_token("val") == len(TEXT[cut:].encode()) / tokens
    sizes = {"characters": len(set(TEXT)), "bytes": 256, "bpe": 300}
    assert len(made.vocabulary) == sizes[tokenizer]
    again = type(made.vocabulary).from_json(made.vocabulary.to_json())
    assert again.fingerprint() == made.vocabulary.fingerprint()
    assert again.encode(TEXT) == made.vocabulary.encode(TEXT)


def test_golden(module: Make) -> None:
    """Catches ids that change while the version, hence every store, does not.

    A change that is meant: raise ``_IDS_VERSION`` and replace the values.
    """
    digest = hashlib.sha256()
    for tokenizer in ("characters", "bytes", "bpe"):
        made = module(tokenizer=tokenizer, document_mask=True)
        digest.update(repr(made.split("train").ids.tolist()).encode())
    assert (language._IDS_VERSION, digest.hexdigest()[:16]) == (1, "83261d3949b9e7d9")


def test_a_tokenizer_of_ones_own(module: Make, tmp_path: Path) -> None:
    """Catches another file of the same name taken for the same tokenizer, ids beyond the size of
    the vocabulary, bits per byte of a text that cannot be given back, a bare exception of the
    library, windows whose counts do not fit, and a message that names another setting."""
    path = tmp_path / "tokenizer.json"
    folders = []
    for lower in (False, True):
        own = Tokenizer(models.WordLevel({"dog": 1, "[?]": 9}, unk_token="[?]"))
        own.pre_tokenizer = pre_tokenizers.Whitespace()
        own.normalizer = normalizers.Lowercase() if lower else None
        own.enable_truncation(3)
        own.save(str(path))
        made = module(tokenizer=str(path))
        assert len(made.vocabulary) == 10
        assert set(made.split("train").ids.tolist()) == {1, 9}
        assert len(made.split("train")) > 900
        assert made.bytes_per_token("val") is None
        assert "tokens that do not give it back" in made.describe()
        folders.append(made.folder)
    assert folders[0] != folders[1]
    scores = [("[?]", 0.0), ("d", -1.0), ("og", -2.0)]
    own = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=False))
    own.save(str(path))
    found = {made.vocabulary.fingerprint(), module(tokenizer=str(path)).vocabulary.fingerprint()}
    assert len(found) == 2
    Tokenizer(models.WordLevel({"dog": 0})).save(str(path))
    wide = {"eval_max_tokens": 1 << 17, "max_tokens": 1 << 17}
    for settings, message in (
        ({"tokenizer": str(path)}, r"cannot encode the text \(WordLevel error: Missing \[UNK\]"),
        ({"tokenizer": "charcters"}, "tokenizer=charcters: no such file; give the path"),
        ({"context": 99}, "max_tokens=80 is smaller than a window of context=99"),
        ({"eval_context": 99}, "eval_max_tokens=50 is smaller than a window of eval_context=99"),
        ({"context": 65_536, **wide}, "context=65536: a window of validation has 65,535 tokens at"),
        ({"eval_context": 65_536, **wide}, "eval_context=65536: a window of validation has 65,535"),
        ({"vocab_size": 255}, "vocab_size must be at least 256"),
        ({"context": 0}, "context must be at least 1"),
        ({"eval_context": 0}, "eval_context must be at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            module(**settings)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_documents_are_told_apart(
    module: Make, tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a document that begins a token too late, one that is cut into pieces taken for two,
    merges across a border, and ids of texts without a mask that change their name."""
    monkeypatch.setattr(language, "_PIECE", 50)
    for number, text in enumerate(("the dog", " sees", "a" * 90 + "\n" + TEXT[:800])):
        (tmp_path / f"{number}.doc").write_text(text, newline="")
    corpus = Files([str(tmp_path / "*.doc")], val_fraction=0.01)
    made = module(corpus=corpus, tokenizer=tokenizer, document_mask=True)
    expected: list[tuple[int, int]] = []
    for number, document in enumerate(corpus.text("train")):
        encoded = [made.vocabulary.encode(piece) for piece in pieces([document])]
        expected += [(number, token) for ids in encoded for token in ids]
    assert number == 2
    split = made.split("train")
    assert split.ids.tolist() == [token for _, token in expected]
    windows = split[np.array([0, 3, len(expected) - 4])]
    assert windows.documents is not None
    for row, first in enumerate((0, 3, len(expected) - 4)):
        found = [number for number, _ in expected[first : first + 16]]
        own = windows.documents[row, : len(found)]
        assert (own[:, None] == own).tolist() == np.equal.outer(found, found).tolist()
    plain = module(corpus=corpus, tokenizer=tokenizer)
    assert plain.split("train")[np.array([0])].documents is None
    assert "documents" not in plain.settings
    assert plain.fingerprint != made.fingerprint


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("tokens", [2, 16, 17, 18, 33, 1000])
def test_validation_predicts_every_token_once(tokens: int, ranks: int, tmp_path: Path) -> None:
    """Catches a last window that is dropped or repeated, a border whose token nobody predicts, and
    ranks that share one."""
    np.arange(tokens, dtype=np.uint16).tofile(tmp_path / "val.bin")
    text = StoredText(tmp_path / "val.bin", np.dtype(np.uint16), 16)
    if (tokens + 14) // 16 < ranks:
        with pytest.raises(UserError, match="too few"):
            EvaluationWindows(tokens, 16, 64, 0, ranks)
        return
    predicted, numbers = [], []
    for rank in range(ranks):
        for first in EvaluationWindows(tokens, 16, 64, rank, ranks).share(0):
            batch = text[first]
            real = batch.targets != NO_TOKEN
            assert torch.equal(batch.targets[real], batch.inputs[real] + 1)
            predicted += batch.targets[real].tolist()
            numbers += batch.index.tolist()
    assert sorted(predicted) == list(range(1, tokens))
    assert sorted(numbers) == list(range(-(-(tokens - 1) // 16)))


@pytest.mark.parametrize("tokens", [32, 33, 47, 1000])
def test_training_windows_are_a_function_of_seed_and_epoch(tokens: int) -> None:
    """Catches windows cut at the same places in all epochs, over the end of the text, or twice the
    same token; and ranks that train on one."""
    shares = [TrainWindows(tokens, 16, 64, 5, rank, 1) for rank in (0, 0)]
    seen = set()
    for epoch in (3, 0, 1, 2, 4, 5):
        first = np.sort(np.concatenate(shares[0].batches(epoch)))
        assert (np.diff(first) == 16).all()
        assert 0 <= first[0] < 16
        assert first[-1] + 16 < tokens
        assert len(first) == (tokens - 16) // 16
        seen.add(int(first[0]))
        again = shares[1].batches(epoch)
        assert all(map(np.array_equal, shares[0].batches(epoch), again))
    assert len(seen) > 2
    with pytest.raises(UserError, match="of 31 tokens is shorter than two windows of context=16"):
        TrainWindows(31, 16, 64)


def test_a_loader_goes_on_in_mid_epoch(module: Make) -> None:
    """Catches windows replayed or skipped by a resume, and a state of another context taken up."""
    loader = module().train_dataloader()
    loader.sampler.set_epoch(1)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    expected = [batch.inputs for batch in iterator]
    rebuilt = module(num_workers=1).train_dataloader()
    rebuilt.load_state_dict(state)
    rebuilt.sampler.set_epoch(1)
    assert all(map(torch.equal, (batch.inputs for batch in rebuilt), expected))
    assert len(expected) == len(loader) - 3
    for change, named in (({"context": 8}, "context"), ({"tokenizer": "bytes"}, "fingerprint")):
        with pytest.raises(UserError, match=named):
            module(**change).train_dataloader().load_state_dict(state)


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    """Catches an order by name, which a moved folder would change, a file read twice because two
    patterns name it, one whose name looks like a pattern, and a file cut at another place than the
    fraction."""
    for folder, names in (("a", "1 2 3"), ("b", "z y x")):
        for name, number in zip(names.split(), range(3), strict=True):
            (tmp_path / folder / name).mkdir(parents=True)
            (tmp_path / folder / name / "f.py").write_text(f"{number}" * 50 + "\n")
    made = [Files([f"{tmp_path}/{f}/**/*.py", f"{tmp_path}/{f}/**/f.*"], 0.3) for f in "ab"]
    assert made[0].fingerprint() == made[1].fingerprint()
    assert whole(made[0]) == whole(made[1])
    assert len(whole(made[0])) == 153
    assert len("".join(made[0].text("val"))) == 153 - int(153 * 0.7)
    (tmp_path / "a/1/f.py").write_text("0" * 49 + "1\n")
    assert Files([f"{tmp_path}/a/**/*.py"], 0.3).fingerprint() != made[1].fingerprint()
    one, test = f"{tmp_path}/b/**/*.py", f"{tmp_path}/b/x/f.py"
    assert Files(one, 0.3, test=test).fingerprint() == Files([one], 0.3, test=[test]).fingerprint()
    named = (tmp_path / "a/1/f.py").rename(tmp_path / "n[1].txt")
    assert Files(str(named)).files() == [named]
    (tmp_path / "b/loop").symlink_to(tmp_path / "b")
    (tmp_path / "b/link.py").symlink_to(tmp_path / "b/x/f.py")
    assert len(Files([one, f"{tmp_path}/a/../b/x/f.py"]).files()) == 3


def test_what_is_tested_on_is_not_trained_on(tmp_path: Path) -> None:
    """Catches a test set among the paths, also as a copy of another name, and a corpus without one
    that is known by another fingerprint than before."""
    for name, text in (("a.txt", "a"), ("b.txt", "b"), ("copy.txt", "b"), ("test.md", "b")):
        (tmp_path / name).write_text(text * 100)
    paths = f"{tmp_path}/*.txt"
    corpus = Files(paths, 0.3, test=f"{tmp_path}/test.md")
    assert whole(corpus) == "a" * 100
    assert "".join(corpus.text("test")) == "b" * 100
    sha256 = sorted(hashlib.sha256(text * 100).hexdigest() for text in (b"a", b"b", b"b"))
    plain = Files(paths, 0.3)
    assert plain.fingerprint() == {"corpus": "files", "sha256": sha256, "val_fraction": 0.3}
    assert len(whole(plain)) == 300
    with pytest.raises(UserError, match="Files: test names all files of paths; leave some to"):
        Files(paths, test=paths).fingerprint()


def test_the_selection_is_taken_from_the_training_text_alone(module: Make, text_file: Path) -> None:
    """Catches a selection that overlaps with what is trained on or reported, one that moves
    ``val``, and a store of one cut that is taken for another's."""
    plain = Files([str(text_file)], 0.2)
    corpus = Files([str(text_file)], 0.2, selection_fraction=0.1)
    parts = ["".join(corpus.text(split)) for split in ("train", "selection", "val")]
    assert "".join(parts) == TEXT
    assert parts[2] == "".join(plain.text("val"))
    assert len(parts[1]) == pytest.approx(len(TEXT) / 10, abs=1)
    assert corpus.fingerprint() != plain.fingerprint()
    data = module(corpus=corpus, val_split="selection")
    assert data.vocabulary.decode(data.split("selection").ids.tolist()) == parts[1]
    asked = sum((batch.targets != NO_TOKEN).sum() for batch in data.val_dataloader())
    assert asked == len(parts[1]) - 1
    with pytest.raises(UserError, match="val_split=selection: no such set; known are val"):
        module(corpus=plain, val_split="selection")


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    """Catches a traceback for a pattern without files, bytes that are no text, or no text."""
    (tmp_path / "bad.txt").write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(UserError, match=r"bad\.txt:2: not UTF-8 \(byte 0xef, 3 in its line\)"):
        whole(Files([str(tmp_path / "bad.txt")]))
    for paths, message in (([f"{tmp_path}/*.md"], "no pattern that names some"), ([], "empty")):
        with pytest.raises(UserError, match=message):
            Files(paths).fingerprint()
    with pytest.raises(UserError, match=r"val_fraction must be between 0 and 1, .*, got 1"):
        Files(["a"], 1)
    for text, tokens in (("", 0), ("ab", 1)):
        (tmp_path / "short.txt").write_text(text)
        module = LanguageDataModule(Files([str(tmp_path / "short.txt")]), cache_dir=str(tmp_path))
        with pytest.raises(UserError, match=f"train: a text of {tokens} tokens; give it more"):
            module.setup()
    assert not list(tmp_path.glob("files-*"))


@pytest.mark.parametrize("packed", [False, True])
def test_shakespeare_is_the_published_text(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a local copy that is trained on unchecked, or is another text for being packed."""
    text = "First Citizen:\n" * 10
    path = tmp_path / ("input.txt.gz" if packed else "input.txt")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with pytest.raises(UserError, match="is not the published file"):
        Shakespeare(str(tmp_path)).prepare()
    sha256 = corpora.file_sha256(path, decompress=True)
    monkeypatch.setattr(corpora, "_SHAKESPEARE_SHA256", sha256)
    corpus = Shakespeare(str(tmp_path))
    corpus.prepare()
    assert whole(corpus) == text
    assert corpus.fingerprint() == Shakespeare().fingerprint()
    fetched = []
    monkeypatch.setattr(corpora, "fetch", lambda *where: fetched.append(where))
    Shakespeare().prepare()
    assert fetched[0][0].startswith("https://raw.githubusercontent.com/karpathy/char-rnn/")
    assert fetched[0][2] == sha256


@pytest.mark.slow
def test_pythons_library_is_code_without_tests() -> None:
    """Catches files that are not UTF-8, and packages that somebody installed."""
    corpus = PythonLibrary()
    names = [path.as_posix() for path in corpus.files()]
    assert len(names) > 100
    assert not [name for name in names if "site-packages" in name or "/test/" in name]
    assert "def " in next(corpus.text("val"))


def test_the_source_side_of_pairs_is_text() -> None:
    """Catches the target side, and sentences that run into one another."""
    grammar = Grammar(3, 2, 1)
    lines = "".join(grammar.text("train")).splitlines()
    assert lines == [source for source, _ in grammar.pairs("train")]


def test_pieces_end_at_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a word cut in two where a line end was near, and a line without one that blocks."""
    monkeypatch.setattr(language, "_PIECE", 6)

    def cut(*text: str) -> Iterable[str]:
        return list(pieces(text))

    assert cut("ab\n", "cd\n", "ef\ngh") == ["ab\ncd\n", "ef\ngh"]
    assert cut("abcdefghij\nk") == ["abcdef", "ghij\nk"]
    assert cut() == []

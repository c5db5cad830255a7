"""``qvbench generate``: prompts in, whole characters out, and one line for what is wrong."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers

from qvbench.cli import generate
from qvbench.cli.experiment import task_from_config
from qvbench.data.language import TextVocabulary
from qvbench.data.text import Vocabulary
from tests.cli.conftest import TINY_CONFIG, Answer

pytestmark = pytest.mark.slow  # nearly every test loads a network; `make test` runs them

Command = Callable[..., Answer]

TEXT = "ein Bär bellt.\n"
MODEL = {
    "attention": "QV",
    "position": {"class_path": "Learned", "init_args": {"max_length": 8}},
    "network": {
        "class_path": "DecoderOnly",
        "init_args": {"d_model": 16, "num_heads": 2, "layers": 1, "ffn_dim": 8},
    },
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0}},
}


def write_checkpoint(file: Path, vocabulary: Vocabulary, task: str, model: Any) -> None:
    """What `fit` keeps, as far as it is read here, of a network with initial weights."""
    torch.manual_seed(0)
    built = task_from_config(yaml.safe_dump(model), task)
    built.build(vocabulary)
    for parameter in built.parameters():
        parameter.data.normal_(0, 0.5)
    stored = {"task": task, "config": yaml.safe_dump(model), "vocabulary": vocabulary.to_json()}
    text = {"source_language": "en", "target_language": "de", "tokenised": True, "lowercase": False}
    stored |= {"text": text} if task == "translation" else {}
    content = {"pytorch-lightning_version": "2", "qvbench": stored}
    torch.save({**content, "state_dict": built.state_dict()}, file)


@pytest.fixture
def checkpoints(here: Path) -> Path:
    """The current folder with ``characters.ckpt``, ``bytes.ckpt``, ``numbers.ckpt`` and
    ``translation.ckpt``."""
    numbers = models.WordLevel({str(number): number for number in range(9)})
    for name, vocabulary in (
        ("characters", TextVocabulary.of_characters([TEXT])),
        ("bytes", TextVocabulary.of_merges()),
        ("numbers", TextVocabulary(Tokenizer(numbers))),
    ):
        write_checkpoint(here / f"{name}.ckpt", vocabulary, "language_modeling", MODEL)
    pairs = Vocabulary.train([TEXT], merges=2, alphabet=set(TEXT))
    model = TINY_CONFIG["model"] | {"attention": "QV"}  # type: ignore[operator]
    write_checkpoint(here / "translation.ckpt", pairs, "translation", model)
    return here


class Stdin(io.TextIOWrapper):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))


class Terminal(io.TextIOWrapper):
    """Standard output that is a terminal, and what was written to it each time."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.parts: list[bytes] = []

    @property
    def buffer(self) -> Any:
        return self

    def write(self, part: Any) -> int:
        self.parts += [part] if part else []
        return len(part)

    def isatty(self) -> bool:
        return True


def texts(capsysbinary: Any, *args: str) -> list[str]:
    words = ["--checkpoint", "characters.ckpt", "--max_new_tokens", "12", *args]
    assert generate.main(words) == 0
    return capsysbinary.readouterr().out.decode().split(f"\n{generate.SEPARATOR}\n")


def test_prompts_from_everywhere(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any
) -> None:
    """Catches a prompt that is left out or cut at a space, texts in another order, and a way of
    giving a prompt that gives another text."""
    prompts = ["ein Bär", "b", "e b"]
    lines = "\r\n".join(prompts).encode()
    (checkpoints / "in.txt").write_bytes(lines)
    from_file = texts(capsysbinary, "--input", "in.txt")
    monkeypatch.setattr(sys, "stdin", Stdin(lines))
    assert texts(capsysbinary) == from_file
    for prompt, text in zip(prompts, from_file, strict=True):
        assert text.startswith(prompt)
        (one,) = texts(capsysbinary, "--prompt", prompt)
        assert one.removesuffix("\n") == text.removesuffix("\n")
        assert len(one) == len(prompt) + 12 + 1
    assert texts(capsysbinary, "--prompt", "b", "--seed", "1") != [from_file[1] + "\n"]
    assert len(set(texts(capsysbinary, "--prompt", "b", "--num_samples", "3"))) == 3
    greedy = texts(capsysbinary, "--prompt", "b", "--temperature", "0")
    assert greedy == texts(capsysbinary, "--prompt", "b", "--top_p", "1e-9")
    assert greedy == texts(capsysbinary, "--prompt", "b", "--top_k", "1", "--seed", "3")


def test_a_text_ends_at_what_stops_it(checkpoints: Path, capsysbinary: Any) -> None:
    """Catches a special token or a sign of several bytes that is taken for other text."""
    (whole,) = texts(capsysbinary, "--prompt", "b")
    stop = whole[5]
    (ended,) = texts(capsysbinary, "--prompt", "b", "--stop", stop)
    assert ended == whole[0] + whole[1:].split(stop)[0] + "\n"
    tokenizer = Tokenizer(models.BPE({"a": 0, "Ċ": 1, "<|end|>": 2}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|end|>"])
    vocabulary = TextVocabulary(tokenizer)
    found = {text: vocabulary.token(text) for text in ("a", "\n", "<|end|>", "aa", "", "b")}
    assert found == {"a": 0, "\n": 1, "<|end|>": 2, "aa": None, "": None, "b": None}


def test_a_terminal_shows_a_text_as_it_comes(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any
) -> None:
    """Catches a text that comes at once, half a character, and another text than into a file."""
    words = ["--checkpoint", "bytes.ckpt", "--prompt", "Bär", "--max_new_tokens", "40"]
    assert generate.main(words) == 0
    expected = capsysbinary.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert generate.main(words) == 0
    assert b"".join(terminal.parts) == expected
    assert len(terminal.parts) > 10
    for part in terminal.parts:
        part.decode()


@pytest.mark.parametrize(
    "raw",
    ["Ω👍é\n“q”".encode(), b"\xce\xa9\xf0\x9f\x91b\x80\xc3\xc3\xa9\xe2\x80", b"\x80" * 5 + b"a"],
)
def test_characters_of_several_bytes_come_whole(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches replacement characters for half a character that is completed, and bytes that are
    none of any character lost, or what follows them held back."""
    known = "ΩÀ👍é“”\nabq"
    for vocabulary in (TextVocabulary.of_merges(), TextVocabulary.of_merges([TEXT] * 3, 260)):
        ids = dict(zip(known.encode(), vocabulary.encode(known), strict=True))
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        stream = generate.Stream(vocabulary)
        for byte in raw:
            stream.add([ids[byte]])
        text = raw.decode(errors="replace")
        assert b"".join(terminal.parts).decode() == text.rstrip(generate.UNFINISHED)
        stream.end()
        assert b"".join(terminal.parts).decode() == text + "\n"


FAULTS = {
    "--checkpoint none.ckpt --prompt b": "none.ckpt: no such checkpoint",
    "--checkpoint translation.ckpt --prompt b": "translation.ckpt: a checkpoint, but not of a lang",
    "--checkpoint characters.ckpt --prompt=": "--prompt: empty; a text goes on from",
    "--checkpoint characters.ckpt --prompt bÜ€": "--prompt: the model does not know the characters",
    "--checkpoint numbers.ckpt --prompt b": "the tokenizer cannot encode the text (WordLevel error",
    "--checkpoint characters.ckpt --prompt b --input in.txt": "--prompt and --input: give one",
    "--checkpoint characters.ckpt --input none.txt": "--input none.txt: No such file",
    "--checkpoint characters.ckpt --input gap.txt": "--input gap.txt, line 2: empty",
    "--checkpoint characters.ckpt --input -": "--input -, line 2: byte 1 is not UTF-8",
    "--checkpoint characters.ckpt --prompt b --temperature -1": "invalid NonNegativeFloat value",
    "--checkpoint characters.ckpt --prompt b --top_p 0": "--top_p: invalid Probability value",
    "--checkpoint characters.ckpt --prompt b --top_p 1.1": "--top_p: invalid Probability value",
    "--checkpoint characters.ckpt --prompt b --stop bb": "--stop 'bb': not one token of the model",
    "--checkpoint characters.ckpt --prompt b --stop Ü": "--stop 'Ü': not one token of the model",
    "--checkpoint nan.ckpt --prompt b": "nan.ckpt: its weights are not finite; give an earlier",
    "--checkpoint characters.ckpt --prompt b --top_k 0": "--top_k: invalid PositiveInt value",
    "--prompt b": "arguments are required: --checkpoint",
}


@pytest.mark.parametrize("given", FAULTS)
def test_what_is_wrong_is_one_line(
    given: str, checkpoints: Path, qvbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback, a character that is left out in silence, and a text of the wrong model;
    texts of the lines before are shown all the same."""
    (checkpoints / "gap.txt").write_text("b\n\nb\n")
    diverged = torch.load("bytes.ckpt")
    diverged["state_dict"]["network.final_norm.weight"][0] = torch.nan
    torch.save(diverged, "nan.ckpt")
    monkeypatch.setattr(sys, "stdin", Stdin(b"b\n\xff\xfe\x00\x01"))
    answer = qvbench("generate", *given.split())
    assert answer.status == 2
    (line,) = answer.err.splitlines()
    assert FAULTS[given] in line, line


def test_a_language_model_does_not_translate(checkpoints: Path, qvbench: Command) -> None:
    """Catches a decoder-only network that is given source lines."""
    (checkpoints / "in.txt").write_text("b\n")
    answer = qvbench("translate", "--checkpoint", "bytes.ckpt", "--input", "in.txt")
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "bytes.ckpt: a checkpoint, but not of a model that translates" in answer.err

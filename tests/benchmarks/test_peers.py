"""The peers compute what we compute, or say that they do not, and speak the same protocol."""

from __future__ import annotations

import functools
import json
import math
import mmap
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import protocol, serve
from benchmarks.peers import marian, torch_transformer
from benchmarks.protocol import OTHER_FUNCTION, SAME_FUNCTION, Work
from qvbench.attention.qkv import QKV
from qvbench.decoding.translator import Translator
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.loss import training_totals, validation_scores
from qvbench.positions.absolute import Sinusoidal

PAD, UNK, BOS, EOS = range(4)
SHAPE = SimpleNamespace(
    **protocol.DEFAULTS,
)
vars(SHAPE).update(
    encoder_layers=2,
    decoder_layers=3,
    d_model=16,
    num_heads=2,
    d_ff=24,
    vocabulary=40,
    dropout=0.1,
    label_smoothing=0.1,
    learning_rate=1e-2,
    pad=PAD,
    unk=UNK,
    bos=BOS,
    eos=EOS,
    max_length=60,
)


class Special:
    """The ids that a translator asks a vocabulary for."""

    pad, bos, eos = PAD, BOS, EOS


def network(norm: str = "pre") -> EncoderDecoder:
    """A network of ours in which no weight is at a neutral value, so that none can be left out."""
    torch.manual_seed(3)
    ours = EncoderDecoder(
        SHAPE.vocabulary,
        PAD,
        QKV,
        Sinusoidal,
        d_model=SHAPE.d_model,
        num_heads=SHAPE.num_heads,
        ffn_dim=SHAPE.d_ff,
        encoder_layers=SHAPE.encoder_layers,
        decoder_layers=SHAPE.decoder_layers,
        norm=norm,  # type: ignore[arg-type]
    )
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        ours.output_bias[[PAD, BOS]] -= 50.0  # ours forbids them, others do not
    return ours.eval()


def padded(rows: list[list[int]]) -> torch.Tensor:
    """Rows as a matrix."""
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, True, PAD)


def sentences(count: int, seed: int) -> list[list[int]]:
    """Random ids without special ones, of lengths 1 to 9."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 10, count)
    return [generator.integers(4, SHAPE.vocabulary, n).tolist() for n in lengths]


@functools.cache
def translating_network() -> EncoderDecoder:
    """One that has learned to repeat its source, more or less: its translations differ and end."""
    ours = network()
    optimizer = torch.optim.Adam(ours.parameters(), lr=5e-3)
    for step in range(300):
        rows = sentences(64, seed=100 + step)
        source = padded([[*s, EOS] for s in rows])
        target = padded([[BOS, *s, EOS] for s in rows])
        hidden, following = ours(source, target[:, :-1]), target[:, 1:]
        real = following != PAD
        output = ours.output_weight, ours.output_bias
        totals = training_totals(hidden[real], *output, following[real], 0.0)
        optimizer.zero_grad()
        (totals.smoothed / totals.tokens).backward()
        optimizer.step()
    return ours


def work_folder(folder: Path, ours: EncoderDecoder, **changes: Any) -> Work:
    """The folder that the benchmarks would write."""
    batches = []
    for i in range(2):
        source = padded([[*s, EOS] for s in sentences(7, seed=i)])
        batches.append((source, padded([[BOS, *s, EOS] for s in sentences(7, seed=i + 10)])))
    shape = SimpleNamespace(**{**vars(SHAPE), **changes, "a key of a later version": 1})
    work, sources = Work(folder), [[*s, EOS] for s in sentences(20, seed=5)]
    work.write(shape, ours.state_dict(), batches, sources)
    return work


@torch.no_grad()
def our_loss(ours: EncoderDecoder, work: Work) -> float:
    """Of the first batch."""
    source, target = work.batches()[0]
    hidden, following = ours(source, target[:, :-1]), target[:, 1:]
    real = following != PAD
    scores = validation_scores(
        hidden[real], ours.output_weight, ours.output_bias, following[real], SHAPE.label_smoothing
    )
    return float(scores.smoothed.mean())


def our_lines(ours: EncoderDecoder, work: Work, beam_size: int) -> list[list[int]]:
    """Translations, one sentence at a time."""
    translator = Translator(ours, Special, beam_size=beam_size)  # type: ignore[arg-type]
    return [translator.translate_ids(torch.tensor([ids]))[0] for ids in work.sources()]


def our_tokens(work: Work) -> int:
    """Real target tokens of all batches."""
    return sum(int((target[:, 1:] != PAD).sum()) for _, target in work.batches())


def test_torch_transformer_is_the_same_function(tmp_path: Path) -> None:
    # Catches queries for keys, a norm in another's place, a mask upside down, the wrong sinusoids.
    ours = network().double()
    work = work_folder(tmp_path, ours)
    theirs = torch_transformer.Translation(SHAPE).double()
    torch_transformer.load(theirs, torch_transformer.converted(work.weights()))
    source, target = work.batches()[0]
    loss = torch_transformer.mean_loss(theirs.eval(), SHAPE, source, target)
    assert loss.item() == pytest.approx(our_loss(ours, work), abs=2e-6)  # float32 sinusoids


def test_marian_is_the_function_of_a_post_norm_network(tmp_path: Path) -> None:
    # Catches a matrix or norm in another's place, although ours of the benchmarks is pre-norm.
    ours = network("post").double()
    work = work_folder(tmp_path, ours)
    theirs = marian.build(SHAPE, work.weights()).double()
    theirs.load_state_dict(marian.converted(work.weights()), strict=False)
    source, target = work.batches()[0]
    loss = marian.mean_loss(theirs.eval(), SHAPE, source, target)
    assert loss.item() == pytest.approx(our_loss(ours, work), abs=2e-6)


def test_marian_says_that_it_is_another_function_and_learns(tmp_path: Path) -> None:
    # Catches an optimizer that does not hold the model's weights, and a claim of equality.
    ours = network()
    task = marian.train(work_folder(tmp_path, ours))
    assert task.comparable.startswith(OTHER_FUNCTION)
    before = task.check()["loss"]
    assert math.isfinite(before)
    for _ in range(5):
        task.run(range(1))
    assert task.check()["loss"] < before


def test_marian_refuses_weights_that_it_has_no_place_for(tmp_path: Path) -> None:
    # Catches weights of another mechanism that would silently be left out.
    work = work_folder(tmp_path, network())
    weights = work.weights() | {"encoder.0.attention.context.weight": torch.zeros(2, 2)}
    with pytest.raises(ValueError, match="no place for"):
        marian.build(SHAPE, weights)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_check_is_in_float32_and_a_repeat_trains(tmp_path: Path, precision: str) -> None:
    # Catches a check that mixed precision blurs, dropout in it, and a repeat without a step.
    ours = network()
    work = work_folder(tmp_path, ours, precision=precision)
    task = torch_transformer.train(work)
    assert task.check()["loss"] == pytest.approx(our_loss(ours, work), abs=1e-5)
    task.run(range(1))
    assert task.items == our_tokens(work)
    assert task.check()["loss"] < our_loss(ours, work)


def test_dropout_is_ours_at_each_place() -> None:
    # Catches nn.Transformer's one probability where ours has three.
    dropouts = {"dropout": 0.3, "attention_dropout": 0.1, "ffn_dropout": 0.2}
    shape = SimpleNamespace(**{**vars(SHAPE), **dropouts})
    layer = torch_transformer.Translation(shape).transformer.decoder.layers[0]
    assert (layer.self_attn.dropout, layer.multihead_attn.dropout) == (0.1, 0.1)
    assert (layer.dropout.p, layer.dropout1.p, layer.dropout3.p) == (0.2, 0.3, 0.3)


class Peer:
    """A runner in a process of its own."""

    def __init__(self, python: str, name: str, task: str, work: Work) -> None:
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.serve", f"benchmarks.peers.{name}", task, str(work.folder)],
            cwd=protocol.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self, request: str | None = None) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if request:
            self.process.stdin.write(f"{request}\n")
            self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> tuple[str, str]:
        """What is left of its output, once it has ended by itself."""
        return self.process.communicate("end\n", timeout=60)


@pytest.mark.integration
def test_the_protocol_from_start_to_end(tmp_path: Path) -> None:
    # Catches a peer that cannot be started, chatter among its answers, wrong items.
    ours = network()
    work = work_folder(tmp_path, ours)
    peer = Peer(sys.executable, "torch_transformer", "train", work)
    ready = peer.answer()
    assert ready["comparable"] == SAME_FUNCTION
    assert ready["versions"]["torch"] == torch.__version__
    assert peer.answer("check")["loss"] == pytest.approx(our_loss(ours, work), abs=1e-5)
    repeat = peer.answer("repeat")
    assert repeat["items"] == our_tokens(work)
    assert repeat["seconds"] > 0
    assert repeat["cpu_seconds"] > 0
    assert repeat["peak_bytes"] > 1e7
    assert peer.end()[0] == ""
    assert peer.process.returncode == 0


def made(peer: str) -> str:
    """The interpreter of a peer, or a skip with its reason."""
    if missing := command.missing(peer):
        pytest.skip(missing)
    return command.PEERS[peer]


@pytest.mark.slow
@pytest.mark.integration
def test_opennmt_is_the_same_function(tmp_path: Path) -> None:
    # Catches a weight in another's place, its decoder's mask, and statistics taken for the loss.
    python = made("opennmt")
    ours = network()
    work = work_folder(tmp_path, ours)
    peer = Peer(python, "opennmt", "train", work)
    assert peer.answer()["comparable"] == SAME_FUNCTION
    assert peer.answer("check")["loss"] == pytest.approx(our_loss(ours, work), abs=1e-4)
    assert peer.answer("repeat")["items"] == our_tokens(work)
    assert peer.answer("check")["loss"] < our_loss(ours, work)
    assert peer.end()[0] == ""


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("name", ["opennmt", "ctranslate2"])
@pytest.mark.parametrize("max_tokens", [0, 64])
def test_greedy_translations_are_ours(tmp_path: Path, name: str, max_tokens: int) -> None:
    # Catches positions in another order, an end token too much or too few, lines out of order.
    python = made(name)
    ours = translating_network()
    work = work_folder(tmp_path, ours, max_tokens=max_tokens)
    peer = Peer(python, name, "translate", work)
    assert peer.answer()["comparable"] == SAME_FUNCTION
    assert peer.answer("check")["lines"] == our_lines(ours, work, beam_size=1)
    assert peer.answer("repeat")["items"] == 20
    assert peer.end()[0] == ""


def test_length_batches_hold_every_sentence_once_within_the_limit() -> None:
    # Catches sentences dropped, which would make a peer look fast.
    sources = [*sentences(50, seed=1), [5] * 40]
    batches = protocol.length_batches(sources, 30)
    assert sorted(i for batch in batches for i in batch) == list(range(51))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(sources[i]) for i in batch) <= 30


def test_translations_are_cut_where_ours_stop() -> None:
    # Catches a sentence that never ends counted as another translation.
    assert protocol.within_limits([[7] * 50, [8]], [[5, EOS], [6, EOS]], SHAPE) == [[7] * 14, [8]]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that since the start")
def test_peak_memory_is_that_of_the_repeat() -> None:
    """Catches the peak of loading, or of an earlier repeat, reported for every later one."""
    # A mapping of its own: the allocator may keep what is freed, as a training run has it do.
    with mmap.mmap(-1, 200_000_000) as large:
        large.write(bytes(200_000_000))
        serve.reset_peak_memory()
        with_it = serve.peak_memory()
    serve.reset_peak_memory()
    assert serve.peak_memory() < with_it - 150_000_000


def test_every_requirement_is_pinned() -> None:
    """Catches a package whose version would change from one month to the next."""
    constraints = (protocol.ROOT / "constraints.txt").read_text().lower()
    for requirement in (protocol.ROOT / "benchmarks/peers/opennmt.txt").read_text().split():
        pinned = "==" in requirement or f"\n{requirement.lower()}==" in constraints
        assert pinned or requirement == "--no-deps", requirement


def test_an_environment_of_other_requirements_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an old environment taken for the present one, and one half made for a whole one."""
    monkeypatch.setattr(command, "OPENNMT", tmp_path)
    assert not command.missing("torch_transformer")
    assert "make peers" in command.missing("ctranslate2")
    wanted = (protocol.ROOT / "benchmarks/peers/opennmt.txt").read_text()
    (tmp_path / "ready").write_text(wanted)
    assert not command.missing("opennmt")
    (tmp_path / "ready").write_text(f"{wanted}torch==1.0\n")
    assert command.missing("opennmt")

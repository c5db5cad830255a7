"""The translator around a real, untrained network: order, batches, odd lines, clean exit."""

from __future__ import annotations

import pytest
import torch

from qvbench.attention import build_attention
from qvbench.data.text import Vocabulary
from qvbench.decoding.translator import Translator, length_batches
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import build_position

LINES = [
    "a man rides a red bicycle .",
    "",
    "two dogs",
    "two dogs play in the deep snow near a house and a man looks on .",
    "   ",
    "yes",
    "a man rides a red bicycle .",
    "the ☃ plays in the snow .",
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(LINES[:7], merges=40, alphabet=set("".join(LINES[:7])))


@pytest.fixture
def network(vocabulary: Vocabulary) -> EncoderDecoder:
    torch.manual_seed(0)
    network = EncoderDecoder(
        len(vocabulary),
        vocabulary.pad,
        lambda **given: build_attention("qvka", **given),
        lambda **given: build_position("agf", num_heads=given["num_heads"]),
        d_model=16,
        num_heads=2,
        ffn_dim=32,
        encoder_layers=2,
        decoder_layers=2,
        dropout=0.5,
    )
    # Far from uniform, and with ends: an untrained network would always run into its limit.
    with torch.no_grad():
        network.output_bias.copy_(torch.randn(len(vocabulary)))
        network.output_bias[vocabulary.eos] += 1.0
    return network.double()


@pytest.mark.parametrize("beam_size", [1, 4])
def test_each_line_gets_its_own_translation_whatever_is_beside_it(
    network: EncoderDecoder, vocabulary: Vocabulary, beam_size: int
) -> None:
    """Catches lines returned in order of length, and padding that changes a translation."""
    together = Translator(network, vocabulary, beam_size).translate_lines(LINES)
    small = Translator(network, vocabulary, beam_size, max_tokens=1).translate_lines(LINES)
    alone = [Translator(network, vocabulary, beam_size).translate_lines([x])[0] for x in LINES]
    assert together == small == alone
    assert len({together[i] for i in (0, 2, 3, 5)}) > 1, "the test cannot tell lines apart"


def test_empty_lines_stay_empty_and_unknown_characters_do_no_harm(
    network: EncoderDecoder, vocabulary: Vocabulary
) -> None:
    """Catches a shifted output file, and a crash on a character that training never saw."""
    translations = Translator(network, vocabulary).translate_lines(LINES)
    assert translations[1] == translations[4] == ""
    assert vocabulary.unk in vocabulary.encode(LINES[7])
    assert len(translations) == len(LINES)
    assert Translator(network, vocabulary).translate_lines([]) == []


def test_the_network_is_left_as_it_was(network: EncoderDecoder, vocabulary: Vocabulary) -> None:
    """Catches dropout that stays off after validation, or a frozen part that wakes up, and
    tensors made without autograd that a module keeps and then trains with."""
    network.train()
    network.encoder.eval()
    first = Translator(network, vocabulary).translate_lines(LINES[:1])
    assert first == Translator(network, vocabulary).translate_lines(LINES[:1]), "dropout was on"
    assert network.training
    assert network.decoder.training
    assert not network.encoder.training
    source = torch.tensor([[5, 6, vocabulary.eos]])
    network.project(network(source, source)).sum().backward()


def test_the_network_is_left_as_it_was_after_a_fault(
    network: EncoderDecoder, vocabulary: Vocabulary
) -> None:
    """Catches a network stuck in evaluation because one batch failed."""
    network.train()
    with torch.no_grad():
        network.output_bias[5] = torch.nan
    with pytest.raises(FloatingPointError):
        Translator(network, vocabulary).translate_lines(LINES)
    assert network.training


def test_length_limit_is_that_of_each_sentence(
    network: EncoderDecoder, vocabulary: Vocabulary
) -> None:
    """Catches a limit computed from the padded width: the short sentence would get more; and one
    beyond the table of positions."""
    with torch.no_grad():
        network.output_bias[vocabulary.eos] = -100.0
    source = torch.tensor([[5, 6, 7, 8, vocabulary.eos], [5, vocabulary.eos, 0, 0, 0]])
    translator = Translator(
        network, vocabulary, beam_size=2, max_length_ratio=1.5, max_length_offset=2
    )
    assert [len(ids) for ids in translator.translate_ids(source)] == [9, 5]
    table = build_position("learned", num_heads=2, d_model=16, max_length=7)
    network.target_embeddings.position = table.double()
    assert [len(ids) for ids in translator.translate_ids(source)] == [7, 5]


def test_batches_hold_what_they_may() -> None:
    """Catches batches counted without padding, lost lines, and order that is not by length."""
    lengths = [3, 9, 1, 4, 4, 30, 2, 9]
    batches = list(length_batches(lengths, max_tokens=18))
    assert sorted(index for batch in batches for index in batch) == list(range(8))
    assert batches[0] == [5], "a line over the budget gets a batch of its own"
    assert all(max(lengths[i] for i in b) * len(b) <= 18 for b in batches[1:])
    assert [lengths[i] for b in batches for i in b] == sorted(lengths, reverse=True)
    assert list(length_batches([], 18)) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"beam_size": 0},
        {"length_penalty": -1.0},
        {"length_penalty": 40.0},
        {"max_tokens": 0},
        {"max_length_offset": 0},
        {"max_length_ratio": -1.0},
        {"patience": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(
    network: EncoderDecoder, vocabulary: Vocabulary, settings: dict[str, float]
) -> None:
    """Catches a search that never ends or that finds nothing, an hour into a run."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        Translator(network, vocabulary, **settings)  # type: ignore[arg-type]

"""Sentences read by networks: whose words are on which side of a map."""

from __future__ import annotations

import pytest
import torch

from qvbench.attention import ATTENTION
from qvbench.data.language import TextVocabulary
from qvbench.data.text import TextProcessor, Vocabulary
from qvbench.errors import UserError
from qvbench.inside.reading import LanguageReader, TranslationReader
from qvbench.inside.words import Sentence
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS

LINES = ["the girl walks", "das mädchen geht"] * 9
SIZES = {"d_model": 16, "num_heads": 2, "ffn_dim": 16}


def parts(position: str = "none"):
    torch.manual_seed(0)
    return ATTENTION["qv"], POSITIONS[position]


def translator(position="none", lowercase=False, lines=LINES) -> TranslationReader:
    vocabulary = Vocabulary.train(lines, 4, set("".join(lines)))
    sizes = {**SIZES, "encoder_layers": 1, "decoder_layers": 1}
    network = EncoderDecoder(len(vocabulary), 0, *parts(position), **sizes).eval()
    return TranslationReader(network, vocabulary, TextProcessor("en", "de", True, lowercase))


def language_model(position: str = "none", **settings) -> LanguageReader:
    vocabulary = TextVocabulary.of_characters(LINES)
    attention, scheme = parts(position)
    scheme = (lambda **sizes: POSITIONS[position](**sizes, **settings)) if settings else scheme
    network = DecoderOnly(len(vocabulary), -1, attention, scheme, **SIZES, layers=1).eval()
    return LanguageReader(network, vocabulary)


def test_each_kind_has_the_words_of_its_sides():
    """Catches a cross-attention read the wrong way round, or a decoder's words off by one."""
    reader = translator()
    reading = reader.read(reader.sentence("the girl"), reader.target("das mädchen geht"))
    shapes = {found.kind: reading.words(found).shape for found in reading.maps}
    assert shapes == {"encoder": (2, 3, 3), "decoder": (2, 4, 4), "cross": (2, 4, 3)}
    queries, keys = reading.sides["cross"]
    assert queries.words == ("<s>", "das", "mädchen", "geht")
    assert keys.words == ("the", "girl", "</s>")
    reader = language_model()
    reading = reader.read(reader.sentence(" the girl walks "))
    assert [reading.words(found).shape for found in reading.maps] == [(2, 3, 3)]


def test_without_a_target_it_is_the_models_own_translation():
    """Catches a target that another search or another sentence gives."""
    reader = translator()
    with torch.no_grad():
        reader.network.output_bias.zero_()
        reader.network.output_bias[reader.vocabulary.encode("das")[-1]] = 99
    words = reader.read(reader.sentence("the girl")).sides["cross"][0].words
    assert words[0] == "<s>"
    assert set("".join(words[1:])) == set("as")
    with torch.no_grad():
        reader.network.output_bias[reader.vocabulary.eos] = 999
    with pytest.raises(UserError, match="translates it into nothing; give it a target"):
        reader.read(reader.sentence("the girl"))


@pytest.mark.parametrize("lowercase", [True, False])
def test_gold_words_are_lowered_where_the_training_was(lowercase):
    """Catches capitals that the model would not know, of a text that came in lower case too."""
    reader = translator(lowercase=lowercase)
    read = reader.read(Sentence(("The", "Girl"), ("DET", "NOUN")), Sentence(("Das",)))
    assert read.sides["encoder"][0].words == ("the", "girl", "</s>")


def test_gold_words_are_escaped_where_the_training_was():
    """Catches an apostrophe that the model would not know, an escape that is escaped once more, and
    escapes for a model that knows the character, or neither."""
    escaping = translator(lines=["&apos;s it &quot;"] * 9)
    for word in ("'s", "&apos;s"):
        read = escaping.read(Sentence(("it", word)), Sentence(("it",)))
        assert read.sides["encoder"][0].words == ("it", "&apos;s", "</s>")
    knowing = translator(lines=["'s & it"] * 9)
    read = knowing.read(Sentence(("'s",)), Sentence(("it",)))
    assert read.sides["encoder"][0].words == ("'s", "</s>")
    with pytest.raises(UserError, match='does not know "\'"'):
        translator(lines=["its"] * 9).read(Sentence(("'s",)))


def test_words_of_plain_text_for_a_language_model():
    """Catches punctuation stuck to words, and words cut at an apostrophe."""
    sentence = language_model().sentence("There's a girl, isn't it?")
    assert sentence.words == ("There's", "a", "girl", ",", "isn't", "it", "?")
    assert sentence.located()[0] == sentence.text


def test_more_tokens_than_positions():
    """Catches a remedy that asks for another training, or a row of the table that is not there."""
    reader = language_model("learned", max_length=8)
    reader.read(reader.sentence("the girl"))
    with pytest.raises(UserError, match="14 tokens, but the model has 8 positions"):
        reader.read(reader.sentence("the girl walks"))
    with pytest.raises(UserError, match="no target"):
        reader.target("das")

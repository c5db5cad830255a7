"""All measures of a model that has learned nothing, and of one whose attention is known."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from qvbench.attention import ATTENTION
from qvbench.data.language import TextVocabulary
from qvbench.data.text import TextProcessor, Vocabulary
from qvbench.errors import UserError
from qvbench.inside.analysis import Gold, grammar, learned, measures
from qvbench.inside.reading import LanguageReader, TranslationReader
from qvbench.inside.summary import summary
from qvbench.inside.words import Sentence
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.positions import POSITIONS

pytestmark = pytest.mark.slow  # nearly every test reads with networks; `make test` runs them

GOLD = list(grammar(16))
LINES = [" ".join(side.words) for gold in GOLD for side in (gold.source, gold.target) if side]
SIZES = {"d_model": 8, "num_heads": 2, "ffn_dim": 8}


def translator(position: str = "agf") -> TranslationReader:
    torch.manual_seed(0)
    vocabulary = Vocabulary.train(LINES, 50, set("".join(LINES)))
    parts = ATTENTION["gqa"], POSITIONS[position]
    sizes = {**SIZES, "encoder_layers": 2, "decoder_layers": 1}
    network = EncoderDecoder(len(vocabulary), 0, *parts, **sizes).eval()
    return TranslationReader(network, vocabulary, TextProcessor("en", "de", True, False))


@pytest.fixture(scope="module")
def found():
    return measures(translator(), GOLD)


def test_gold_of_the_grammar():
    """Catches heads counted from 0, and a relation of the wrong end."""
    gold = GOLD[0]
    assert len(gold.source.words) == len(gold.source.tags) == len(gold.source.heads)
    (root,) = [i for i, head in enumerate(gold.source.heads) if not head]
    assert gold.source.relations[root].endswith("of root")
    word = (root + 1) % len(gold.source.words)
    head = gold.source.tags[gold.source.heads[word] - 1]
    assert gold.source.relations[word] == f"{gold.source.tags[word]} of {head}"
    assert max(target for _, target in gold.alignment) < len(gold.target.words)


def test_every_attention_is_measured(found):
    """Catches a map that is left out, numbers that JSON does not have, a cross-attention with a
    tree."""
    kinds = {name: entry["kind"] for name, entry in found["attentions"].items()}
    assert list(kinds.values()) == ["encoder", "encoder", "decoder", "cross"]
    assert set(found["dependencies"]) == {"encoder", "decoder"}
    for name, entry in found["attentions"].items():
        cross = kinds[name] == "cross"
        own = {"alignment error"} if cross else {"affinity", "probe", "distance"}
        assert set(entry) == {"kind", "layer", "diffusion", *own}
    encoder = found["attentions"]["encoder.1.attention"]
    assert len(encoder["distance"]["right"]) == 2
    assert "right" not in found["attentions"]["decoder.0.attention"]["distance"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    law = encoder["distance"]["left"][0]["families"]["power law"]
    assert set(law["exponent"]) == {"mean", "low", "high"}
    assert len(found["dependencies"]["encoder"][0]["gain"]) == 3


def test_untrained_attention_knows_nothing(found):
    """Catches a baseline or a row that is another one's: near-uniform attention finds no tree, is
    flat in distance, and aligns nothing."""
    error = found["attentions"]["decoder.0.cross_attention"]["alignment error"]
    for reading in error.values():
        value, low, _high = np.array(reading)
        assert (value[:-1] > value[-1]).all(), "the diagonal knows more"
        assert low.shape == (3,)
    affinity = found["attentions"]["encoder.0.attention"]["affinity"]
    np.testing.assert_allclose(np.sum(affinity["attention"][0], -1), 1, atol=1e-4)


def test_a_summary_is_of_the_encoder(found):
    """Catches a decoder's numbers among the encoder's, one direction for both, a width left out, a
    dependent's share for a head's, and an exponent of AGF that is no encoder's."""
    short, entries = summary(found), [found["attentions"][f"encoder.{n}.attention"] for n in (0, 1)]
    measures, relations = short["measures"], short["relations"]
    excess = np.mean([entry["affinity"]["excess over chance"][0] for entry in entries])
    assert measures["excess over chance"] == pytest.approx(excess, abs=1e-4)
    assert measures["spread of queries"] == pytest.approx(0.64, abs=0.2), "untrained: Gaussian"
    assert len(short["exponents"]) == 2 * 2 * 2, "layers, heads, directions"
    near, far = entries[0]["distance"]["mean by offset"], entries[1]["distance"]["mean by offset"]
    middle = entries[0]["distance"]["first offset"] * -1
    at = [row[middle + side] for table in (near, far) for row in table for side in (-1, 1)]
    assert short["attention by distance"][0] == pytest.approx(np.mean(at), abs=1e-5)
    assert relations["all"][0] == pytest.approx(measures["head, found"], abs=1e-4)
    assert len(relations) == 9
    assert measures["alignment error"] > measures["alignment error of the diagonal"]
    assert measures["exponent of AGF"] == pytest.approx(2)
    own, decoder = {"exponent": [[1, 1], [5, 5]]}, {"exponent": [[9, 9], [2, 2]]}
    known = {f"encoder.{n}.attention": own for n in (0, 1)} | {"decoder.0.attention": decoder}
    assert summary(found | {"learned": known})["measures"]["exponent of AGF"] == 3
    assert "rope exponent" not in measures


def test_a_language_model_is_read_too():
    """Catches what only translation has: a target, an alignment, attention to the right; values in
    widths of a wider query; and the exponent of a direction that no query sees."""
    torch.manual_seed(0)
    vocabulary = TextVocabulary.of_characters(LINES)
    parts = partial(ATTENTION["qkv"], head_dim_qk=16), POSITIONS["rope"]
    network = DecoderOnly(len(vocabulary), -1, *parts, **SIZES, layers=1).eval()
    sentences = [Gold(gold.source) for gold in GOLD[:6]]
    found = measures(LanguageReader(network, vocabulary), sentences)
    assert (found["sentences"], found["left out"], found["learned"]) == (6, 0, {})
    assert list(found["dependencies"]) == ["causal"]
    (entry,) = found["attentions"].values()
    mean = np.array(entry["distance"]["mean by offset"], float)
    assert (np.nan_to_num(mean[:, mean.shape[1] // 2 + 1 :]) == 0).all(), "nothing to the right"
    short = summary(found | {"learned": {"layers.0.attention": {"exponent": [[3, 4], [2, 2]]}}})
    assert short["measures"]["exponent of AGF"] == 3.5
    for name in ("queries", "keys", "values"):
        assert short["measures"][f"spread of {name}"] == pytest.approx(0.64, abs=0.2), "Gaussian"
    assert short["measures"]["rope exponent"] == pytest.approx(1, abs=0.02)
    assert short["attention by distance"][0] > 0
    assert len(short["exponents"]) == 2


def test_sentences_that_the_model_cannot_read_are_counted():
    """Catches one unknown character that ends an analysis of a treebank, one of none, and words
    that have no other one to look at or no head: means over nothing."""
    unknown = Gold(Sentence(("ξ", "ξ"), ("NOUN",) * 2, (0, 1), ("root", "x")), GOLD[0].target)
    first = GOLD[0].source
    alone = Gold(Sentence(first.words[:1], first.tags[:1], (0,), ("root",)), GOLD[0].target)
    flat = Gold(replace(first, heads=(0,) * len(first.words)), GOLD[0].target)
    found = measures(translator(), [unknown, alone, flat, *GOLD[:5], unknown])
    assert (found["sentences"], found["left out"]) == (5, 4)
    with pytest.raises(UserError, match=r"0 sentences .* \(one word alone .*; give 4"):
        measures(translator(), [alone] * 6)
    with pytest.raises(UserError, match=r"0 sentences .* \(the model does not know 'ξ'.*; give 4"):
        measures(translator(), [unknown])


def test_learned_coefficients_are_read():
    """Catches directions exchanged, and raw parameters for the ones that act."""
    network = translator().network
    position = network.encoder[0].attention.position
    with torch.no_grad():
        position.kernel.raw_exponent[1] += 5  # keys after the query
    entry = learned(network)["encoder.0.attention"]
    table, middle = entry["coefficient by offset"], 32
    assert (table[:, middle] == 1).all()
    np.testing.assert_allclose(table[:, middle - 1], 2**-2.0, atol=1e-5)
    assert (table[:, middle + 1] < 0.02).all()
    assert entry["exponent"].shape == (2, 2)
    np.testing.assert_allclose(entry["exponent"][0], 2, atol=1e-5)

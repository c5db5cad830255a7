"""A sentence read by a network: what it attended to, in words.

A reader binds a network to the text that it knows: one for translation, one for language models.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Protocol

import torch
from torch import Tensor

from qvbench.data.text import TextProcessor, Vocabulary
from qvbench.decoding.translator import Translator
from qvbench.errors import UserError
from qvbench.inside.maps import Kind, LayerMap, capture
from qvbench.inside.words import Pieces, Sentence, known, pieces, word_map
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.encoder_decoder import EncoderDecoder


@dataclass(frozen=True, eq=False)
class Reading:
    """The attentions of one sentence (a batch of one), with its words.

    Attributes:
        sentence: as it was given.
        sides: of each kind of attention the pieces of its queries and those of its keys. A
            decoder's are its inputs: at ``<s>`` it looks for the first word.
    """

    sentence: Sentence
    maps: list[LayerMap]
    sides: dict[Kind, tuple[Pieces, Pieces]]

    def words(self, of: LayerMap) -> Tensor:
        """Probabilities between words, special tokens included: (H, Wq, Wk), float64."""
        return word_map(of.probabilities[0], *self.sides[of.kind])


class Reader(Protocol):
    @property
    def network(self) -> Any: ...

    def sentence(self, line: str) -> Sentence:
        """The words of a line of plain text."""

    def target(self, line: str) -> Sentence:
        """The same of the other side of translation; UserError if there is none."""

    def read(self, sentence: Sentence, target: Sentence | None = None) -> Reading:
        """The network's attentions of a sentence; UserError if it cannot be read."""


@dataclass(eq=False)
class TranslationReader:
    """Reads pairs of sentences; where no target is given, the network's own greedy translation."""

    network: EncoderDecoder
    vocabulary: Vocabulary
    processor: TextProcessor

    def sentence(self, line: str) -> Sentence:
        """In words as Moses splits them, or those of a tokenized line."""
        return Sentence(tuple(self.processor.source(line).split()))

    def target(self, line: str) -> Sentence:
        return Sentence(tuple(self.processor.target(line).split()))

    def read(self, sentence: Sentence, target: Sentence | None = None) -> Reading:
        start, end = ("<s>", self.vocabulary.bos), ("</s>", self.vocabulary.eos)
        source = pieces(self._as_trained(sentence), self.vocabulary, after=[end])
        _check_length(self.network, source.ids)
        if target is None:
            translator = Translator(self.network, self.vocabulary, beam_size=1)
            (ids,) = translator.translate_ids(torch.tensor([source.ids]))
            target = Sentence(tuple(self.vocabulary.decode(ids).split()))
            if not target.words:
                raise UserError("the model translates it into nothing; give it a target")
        output = pieces(self._as_trained(target), self.vocabulary, before=[start])
        _check_length(self.network, output.ids)
        maps = capture(self.network, torch.tensor([source.ids]), torch.tensor([output.ids]))
        sides: dict[Kind, tuple[Pieces, Pieces]] = {"encoder": (source, source)}
        return Reading(
            sentence, maps, sides | {"decoder": (output, output), "cross": (output, source)}
        )

    def _as_trained(self, sentence: Sentence) -> Sentence:
        """With spaces between the words, and in lower case and with Moses' escapes (``&apos;``)
        where all of the training was: a corpus may come so."""
        capitals = any(known(letter, self.vocabulary) for letter in ascii_uppercase)
        lower = self.processor.lowercase or not capitals
        words = [word.lower() if lower else word for word in sentence.words]
        if known("&", self.vocabulary) and not known("'", self.vocabulary):
            from sacremoses import MosesTokenizer

            escaped = MosesTokenizer().escape_xml
            words = [escaped(html.unescape(word)) for word in words]
        return replace(sentence, words=tuple(words), text="")


@dataclass(eq=False)
class LanguageReader:
    """Reads sentences with a language model, each as the beginning of a text."""

    network: DecoderOnly
    vocabulary: Vocabulary

    def sentence(self, line: str) -> Sentence:
        """In words of letters and digits, and single other characters."""
        text = line.strip()
        return Sentence(tuple(re.findall(r"\w+(?:['\u2019]\w+)*|[^\w\s]", text)), text=text)

    def target(self, line: str) -> Sentence:
        raise UserError("a language model has no target; leave it out")

    def read(self, sentence: Sentence, target: Sentence | None = None) -> Reading:
        text = pieces(sentence, self.vocabulary)
        _check_length(self.network, text.ids)
        maps = capture(self.network, torch.tensor([text.ids]))
        return Reading(sentence, maps, {"causal": (text, text)})


def _check_length(network: EncoderDecoder | DecoderOnly, ids: Sequence[int]) -> None:
    """UserError for more tokens than the network has positions."""
    most = network.position.max_length
    if most is not None and len(ids) > most:
        raise UserError(f"{len(ids)} tokens, but the model has {most} positions; give fewer words")

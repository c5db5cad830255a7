"""All measures of one model on annotated sentences: what ``inside.json`` holds.

Beside a number stands its 95 % interval over sentences: value, lower and upper bound. Maps between
words leave out special tokens; distances, products and vectors are of the model's own pieces.

Shape letters: H heads, W words, T pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional

from qvbench.data.corpora.grammar import Grammar, Side
from qvbench.errors import UserError
from qvbench.inside import affinity, diffusion, distance
from qvbench.inside.maps import LayerMap, attentions
from qvbench.inside.probe import Probe, probe
from qvbench.inside.reading import Reader, Reading
from qvbench.inside.shares import Floats, Share, side_by_side
from qvbench.inside.words import Pieces, Sentence, within, word_vectors
from qvbench.positions.rope import RoPE

LONGEST = 32
"""Pieces; attention that goes farther is no part of a fit."""
FEWEST = 4
"""Sentences: two to choose on, two to report."""


class Gold(NamedTuple):
    """A sentence with its tree, and where they are known its translation and alignment."""

    source: Sentence
    target: Sentence | None = None
    alignment: tuple[tuple[int, int], ...] = ()  # of source and target words, from 0


def grammar(pairs: int) -> Iterator[Gold]:
    """The first pairs of the grammar corpus's ``val``, in no training split of any seed. A word's
    relation is its tag and that of its head."""

    def sentence(side: Side) -> Sentence:
        above = ["root" if head < 0 else side.pos[head] for head in side.heads]
        relations = tuple(f"{tag} of {head}" for tag, head in zip(side.pos, above, strict=True))
        return Sentence(side.tokens, side.pos, tuple(head + 1 for head in side.heads), relations)

    for pair in Grammar(val_pairs=pairs).annotated("val"):
        yield Gold(sentence(pair.source), sentence(pair.target), pair.alignment)


class Attended(NamedTuple):
    """A sentence and one attention of the model that read it."""

    gold: Gold
    reading: Reading
    map: LayerMap

    @property
    def sides(self) -> tuple[Pieces, Pieces]:
        return self.reading.sides[self.map.kind]

    @property
    def sentence(self) -> Sentence:
        """The one that the queries are of; empty where its tree is not known."""
        target = self.map.kind in ("decoder", "cross")
        return (self.gold.target if target else self.gold.source) or Sentence(())

    @property
    def words(self) -> Floats:
        """Attention between words, (H, W, W)."""
        return array(within(self.reading.words(self.map), *self.sides))


Layer = Sequence[Attended]
"""One attention of a model in all sentences."""


def measures(reader: Reader, sentences: Iterable[Gold]) -> dict[str, Any]:
    """All measures of a model, as JSON values.

    Sentences that the model cannot read, with characters that it does not know or too long, are
    left out and counted, and so are those in which no word has another one or a head.

    Raises:
        UserError: fewer than :data:`FEWEST` are left; with the last one's reason.
    """
    read, left_out, reason = [], 0, ""
    for gold in sentences:
        try:
            _check(gold.source)
            read.append((gold, reader.read(gold.source, gold.target)))
        except UserError as error:
            left_out, reason = left_out + 1, f" ({error})"
    if len(read) < FEWEST:
        raise UserError(f"{len(read)} sentences that the model can read{reason}; give {FEWEST}")
    found, stacks = {}, dict[str, list[Layer]]()
    for layer in zip(*([Attended(*of, m) for m in of[1].maps] for of in read), strict=True):
        first = layer[0].map
        entry: dict[str, Any] = {
            "kind": first.kind,
            "layer": first.layer,
            "diffusion": spread(layer),
        }
        if first.kind == "cross":
            entry["alignment error"] = alignment(layer)
        else:
            entry["distance"] = decay(layer)
            if layer[0].sentence.tags:
                entry |= {"affinity": tags(layer), "probe": probes(layer)}
                stacks.setdefault(first.kind, []).append(layer)
        found[first.name] = entry
    trees = {kind: dependencies(stack) for kind, stack in stacks.items()}
    counted = {"sentences": len(read), "left out": left_out}
    result = {**counted, "attentions": found, "dependencies": trees}
    if isinstance(reader.network.position, RoPE):
        longest = max(len(side.ids) for of in read for side, _ in of[1].sides.values())
        result["rope exponent"] = distance.rope_exponent(reader.network.position.base, longest)
    return dict(as_json(result | {"learned": learned(reader.network)}))


def _check(sentence: Sentence) -> None:
    """UserError for one of which nothing can be measured."""
    if len(sentence.words) < 2:
        raise UserError("one word alone has no other to look at")
    if sentence.heads and not any(sentence.heads):
        raise UserError("a sentence without any word that depends on another")


def array(x: Tensor) -> Floats:
    return np.asarray(x.detach().double().numpy())


def as_json(x: Any) -> Any:
    """Shares as their intervals, tuples with names as objects, numbers to six decimals, and null
    where there is none."""
    if isinstance(x, Share):
        return as_json(x.interval())
    if isinstance(x, dict):
        return {name: as_json(value) for name, value in x.items()}
    if hasattr(x, "_asdict"):
        return as_json(x._asdict())
    if isinstance(x, list | tuple) and not all(isinstance(value, int | float) for value in x):
        return [as_json(value) for value in x]
    if isinstance(x, str | int):
        return x
    return _numbers(x)


def _numbers(x: npt.ArrayLike) -> Any:
    values = np.asarray(x, float)
    return np.where(np.isfinite(values), np.round(values, 6), np.array(None)).tolist()


def tags(layer: Layer) -> dict[str, Any]:
    """Affinity of parts of speech of each head."""
    causal = layer[0].map.kind != "encoder"
    found = affinity.tag_affinity([of.sentence for of in layer], [of.words for of in layer], causal)
    return {
        "tags": found.tags,
        "attention": found.attention,
        "chance": found.chance.value,
        "distance alone": found.distance.value,
        "excess over chance": found.excess(found.chance),
        "excess over distance": found.excess(found.distance),
    }


def dependencies(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Of every relation and direction the best head of all layers of a stack."""
    sentences, causal = [of.sentence for of in layers[0]], layers[0][0].map.kind != "encoder"
    maps = [np.concatenate([of.words for of in at]) for at in zip(*layers, strict=True)]
    found, rows = affinity.attachment(sentences, maps, causal), []
    for relation, name in enumerate(found.relations):
        for direction, end in enumerate(("head", "dependent")):
            best = found.best(direction, relation)
            if best is not None:
                layer, head = divmod(best.head, found.heads // len(layers))
                place = {"relation": name, "looks at": end, "layer": layer}
                rows.append({**place, **best._asdict(), "head": head})
    return rows


def alignment(layer: Layer) -> dict[str, Share]:
    """By the row that predicts a target word, and by the one that has read it; the last number is
    the diagonal's."""
    predicts, has_read, links = [], [], []
    for of in layer:
        if of.gold.alignment:
            queries, keys = of.sides
            rows, own = array(of.reading.words(of.map))[..., keys.own], queries.own
            predicts.append(rows[:, own.start - 1 : own.stop - 1])
            has_read.append(rows[:, own])
            sure = np.zeros(has_read[-1].shape[1:])
            source, target = np.array(of.gold.alignment).T
            sure[target, source] = 1
            links.append((sure, sure))
    maps = {"predicts the word": predicts, "has read the word": has_read}
    return {name: affinity.alignment_error(m, links) for name, m in maps.items()} if links else {}


def spread(layer: Layer) -> dict[str, Any]:
    """Diffusion over features of each head, and of its queries less that of its values."""
    maps = [of.map for of in layer]
    tensors = ((m.queries, m.keys, m.values, m.probabilities) for m in maps)
    found = diffusion.diffusion([diffusion.Projected(*(array(x[0]) for x in t)) for t in tensors])
    vectors = ("queries", "keys", "values")
    widths = {f"width of {name}": getattr(maps[0], name).shape[-1] for name in vectors}
    result: dict[str, Any] = {**widths, **found}
    if maps[0].kind != "cross" and widths["width of values"] == widths["width of queries"]:
        pair = found["queries, participation"], found["values, participation"]
        result["queries less values"] = diffusion.contrast(*pair)
    return result


def probes(layer: Layer) -> dict[str, Any]:
    """What a word is (its tag), and what it may expect (its head's), from each head's vectors:
    all heads' queries, or values, are together the layer's input in other coordinates."""
    sentences = [of.sentence for of in layer]
    words, own = [s.words for s in sentences], [s.tags for s in sentences]
    above = [tuple(s.tags[head - 1] if head else "" for head in s.heads) for s in sentences]
    found: dict[str, Any] = {}
    for name in ("queries", "keys", "values"):
        vectors = []
        for of in layer:
            side = of.sides[0]
            vectors.append(array(word_vectors(getattr(of.map, name)[0], side)[:, side.own]))
        for what, labels in (("tag", own), ("head's tag", above)):
            heads = [probe(of_head, words, labels) for of_head in zip(*vectors, strict=True)]
            result = Probe(*(side_by_side(shares) for shares in zip(*heads, strict=True)))
            found[f"{name}, {what}"] = {**result._asdict(), "selectivity": result.selectivity}
    return found


def decay(layer: Layer) -> dict[str, Any]:
    """By direction and head: mean attention, and the families fitted to it."""
    maps = []
    for of in layer:
        side = of.sides[0]
        own = np.flatnonzero(array(side.shares[:, side.own].sum(1)) > 0)
        maps.append(array(of.map.probabilities[0])[:, own[:, None], own])
    longest = min(LONGEST, max(m.shape[-1] for m in maps) - 1)
    found: dict[str, Any] = {"first offset": -longest}
    found["mean by offset"] = distance.mean_by_offset(maps, longest)
    for direction in ("left", "right") if layer[0].map.kind == "encoder" else ("left",):
        by_reach = [distance.by_reach(m, longest, direction == "left") for m in maps]
        found[direction] = [_fits(weights) for weights in np.stack(by_reach, 1)]
    return found


def _fits(weights: Floats) -> dict[str, Any]:
    fits = [distance.fit_family(name, weights) for name in distance.FAMILIES]
    families = {}
    for fit in fits:
        z, p = distance.compare(fits[0], fit)
        families[fit.family] = {**fit.parameters, "gain": fit.gain, "power law's z": z, "p": p}
    return {"chosen": distance.chosen_family(fits).family, "families": families}


def learned(network: nn.Module) -> dict[str, Any]:
    """What position schemes that multiply logits have learned, by the name of the attention: the
    coefficient of each head by offset, from -:data:`LONGEST`, and a decay's parameters, a list per
    direction (keys before the query first) with one of each head."""
    found = {}
    for name, _, attention in attentions(network):
        table = attention.position.coefficient_table(LONGEST + 1, LONGEST + 1, 0)
        if table is not None:
            found[name] = {"coefficient by offset": array(table)}
            for parameter, raw in attention.position.named_parameters():
                _, is_raw, own = parameter.partition("raw_")
                if is_raw:  # a decay's, kept positive by softplus
                    found[name][own] = array(functional.softplus(raw))
    return found

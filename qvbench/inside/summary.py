"""One number a model for each question: what a report takes from ``inside.json``.

Over layers, heads and directions of the encoder's self-attention, or of a language model's, the
mean, or the median of exponents, of which a head without decay has any. Intervals over sentences
stay behind: a report has seeds to average over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qvbench.inside.affinity import ALL
from qvbench.inside.shares import Floats

VECTORS = ("queries", "keys", "values")
ADJECTIVES = ("ADJ of NOUN", "amod")
"""The relation of an adjective to its noun, in the grammar corpus and in a treebank."""
RELATIONS = 8
"""As many of the commonest are kept."""
NEWTON = (1.5, 2.5)
"""Exponents that count as near 2."""


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of all measures of a model, as JSON values: ``measures`` by name, ``relations`` (the share of
    words that find their head, that of the best offset, and the number of words), ``exponents`` of
    all heads, ``attention by distance`` from 1 on."""
    kinds = [entry["kind"] for entry in found["attentions"].values()]
    stack = "encoder" if "encoder" in kinds else "causal"
    layers = [entry for entry in found["attentions"].values() if entry["kind"] == stack]
    rows = {
        row["relation"]: row
        for row in found["dependencies"].get(stack, [])
        if row["looks at"] == "head"
    }
    measured = {
        **_affinity([entry["affinity"] for entry in layers if "affinity" in entry]),
        **_found_heads(rows),
        **_alignment(found["attentions"].values()),
        **_diffusion([entry["diffusion"] for entry in layers]),
        **_probes([entry["probe"] for entry in layers if "probe" in entry]),
    }
    fits = [
        fit for e in layers for side in ("left", "right") for fit in e["distance"].get(side, [])
    ]
    laws = [fit["families"]["power law"] for fit in fits]
    exponents = [law["exponent"]["mean"] for law in laws]
    measured |= {
        "exponent": np.median(exponents),
        "near 2": np.mean([NEWTON[0] <= exponent <= NEWTON[1] for exponent in exponents]),
        "falls off": np.mean([law["exponent"]["low"] > 0 for law in laws]),
        "power law": np.mean(
            [
                fit["chosen"] == "power law" and law["exponent"]["low"] > 0
                for fit, law in zip(fits, laws, strict=True)
            ]
        ),
        "gain of a power law": np.mean([law["gain"] for law in laws]),
    }
    if exponents_of_agf := _learned(found, stack):
        measured["exponent of AGF"] = np.mean(exponents_of_agf)
    if "rope exponent" in found:
        measured["rope exponent"] = found["rope exponent"]
    return {
        "sentences": found["sentences"],
        "measures": {name: round(float(value), 5) for name, value in measured.items()},
        "relations": {
            name: [row["share"][0], row["offset_share"][0], row["arcs"]]
            for name, row in (*list(rows.items())[:RELATIONS], (ALL, rows.get(ALL)))
            if row is not None
        },
        "exponents": np.round(exponents, 3).tolist(),
        "attention by distance": np.round(_by_distance(layers), 6).tolist(),
    }


def _learned(found: Mapping[str, Any], stack: str) -> list[Any]:
    """The exponents of AGF by layer, direction and head; a causal layer sees one direction, and no
    gradient reaches the other. Summaries of old have a mean over all as ``learned exponent``."""
    names = [name for name, entry in found["attentions"].items() if entry["kind"] == stack]
    own = [found["learned"][name] for name in names if name in found["learned"]]
    directions = 1 if stack == "causal" else None
    return [entry["exponent"][:directions] for entry in own if "exponent" in entry]


def _affinity(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("excess over chance", "excess over distance") if layers else ()
    return {name: np.mean([entry[name][0] for entry in layers]) for name in names}


def _found_heads(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of all relations, and of an adjective to its noun, with the gain over the best offset."""
    known = {"head": rows.get(ALL), "noun": next((rows[r] for r in ADJECTIVES if r in rows), None)}
    return {
        f"{what}, {name}": row[key][0]
        for what, row in known.items()
        if row is not None
        for name, key in (("found", "share"), ("by offset", "offset_share"), ("gain", "gain"))
    }


def _alignment(attentions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the best head, chosen on the sentences that it is reported on, and of the diagonal."""
    errors = [
        value[0] for entry in attentions for value in entry.get("alignment error", {}).values()
    ]
    if not errors:
        return {}
    best = min(min(heads[:-1]) for heads in errors)
    return {"alignment error": best, "alignment error of the diagonal": errors[0][-1]}


def _diffusion(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Participation ratios over the vector's own width, and how much further queries are spread
    than values, less the same under rotation: what is of the features."""

    def share(name: str, suffix: str = "") -> Any:
        keys, width = f"{name}, participation{suffix}", "width of " + name.split()[0]
        kept = [entry for entry in layers if keys in entry]
        return np.mean([np.mean(entry[keys][0]) / entry[width] for entry in kept])

    names = [*VECTORS, "queries * keys"]
    names += ["queries * values"] * ("queries * values, participation" in layers[0])
    over = [share("queries", suffix) - share("values", suffix) for suffix in ("", ", rotated")]
    found = {f"spread of {name}{s}": share(name, s) for name in names for s in ("", ", rotated")}
    return found | {"queries over values": over[0] - over[1]}


def _probes(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    found = {
        f"{what} from {vectors}": np.mean([e[f"{vectors}, {what}"]["accuracy"][0] for e in layers])
        for what in ("tag", "head's tag")
        for vectors in VECTORS
        if layers
    }
    if found:
        found["fact"] = found["tag from values"] - found["tag from queries"]
        found["expectation"] = found["head's tag from queries"] - found["head's tag from values"]
        for what in ("tag", "head's tag"):
            found[f"{what} by type"] = np.mean([e[f"keys, {what}"]["by_type"][0] for e in layers])
    return found


def _by_distance(layers: list[Mapping[str, Any]]) -> Floats:
    """Mean attention from distance 1 on, of all heads, and of both directions where there are."""
    mean = np.mean([np.array(e["distance"]["mean by offset"], float) for e in layers], (0, 1))
    longest = len(mean) // 2
    left, right = mean[:longest][::-1], mean[longest + 1 :]
    both = layers[0]["kind"] == "encoder"
    result: Floats = (left + right) / 2 if both else left
    return np.nan_to_num(result)

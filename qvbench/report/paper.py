"""The paper's rows, differences and claims, from ``paper.yaml``, as questions to our variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from qvbench.report import data
from qvbench.report.variants import Contrast, Variant

PAPER = data("paper.yaml")
JUDGMENTS = ("supported", "contradicted", "undecided")

# Which of our variants is which row


def our_rows(variants: Sequence[Variant], baseline: Variant | None) -> dict[str, Variant]:
    """Our variants by the key of the paper's row; empty where task or metric is not the paper's.

    A row that several variants would fit (other exponents, say) goes to none of them, but to the
    baseline: which is the paper's is not for the report to choose.
    """
    found: dict[str, Variant] = {}
    if (variants[0].task, variants[0].metric.name) != (PAPER["task"], PAPER["metric"]):
        return found
    facts = {variant.name: _facts(variant) for variant in variants}
    for key, row in (PAPER["rows"] | PAPER["others"]).items():
        wanted = {"pcm_v": True} | {fact: row[fact] for fact in FACTS if fact in row}
        fits = [v for v in variants if wanted.items() <= facts[v.name].items()]
        if len(fits) == 1:
            found[key] = fits[0]
        elif baseline in fits:
            found[key] = baseline
    return found


FACTS = ("mechanism", "position", "context", "context_heads", "one_value_head", "own_key_rank")


def _facts(variant: Variant) -> dict[str, Any]:
    """What distinguishes the paper's rows; None for what a mechanism does not have."""
    record, settings = variant.record, variant.settings
    own = {key.removeprefix("model.attention."): value for key, value in settings.items()}
    head = own.get("model.network.d_model", 1) / own.get("model.network.num_heads", 1)
    position = variant.config.get("model", {}).get("position", {})
    return {
        "mechanism": record["mechanism"],
        "position": record["position"],
        "pcm_v": position.get("init_args", {}).get("value_scaling", True),
        "context": own.get("context"),
        "context_heads": own.get("context_dim", head) / head,
        "one_value_head": value_heads(variant) == 1,
        "own_key_rank": "key_rank" in own,
    }


def value_heads(variant: Variant) -> int | None:
    """Value heads per layer; None for mechanisms whose heads share no values."""
    keys = ("model.attention.num_value_heads", "model.attention.num_kv_heads")
    return next((variant.settings[key] for key in keys if key in variant.settings), None)


# What the paper says of them


def paper_contrasts(ours: Mapping[str, Variant]) -> dict[str, Contrast]:
    """The rows of the paper that are ours too, each against QKV with the same positions."""
    return {
        key: Contrast((ours[key],), (ours[row["than"]],))
        for key, row in PAPER["rows"].items()
        if key in ours and row.get("than") in ours
    }


def tested_claims(ours: Mapping[str, Variant]) -> list[tuple[Mapping[str, Any], Contrast]]:
    """The claims whose variants were all run, and the difference that each is about."""
    found = []
    for claim in PAPER["claims"]:
        keys = [claim["row"], claim["than"], *claim.get("beside", [])]
        if not all(key in ours for key in keys):
            continue
        row, than, *beside = (ours[key] for key in keys)
        if claim["row"].startswith("v_shared") and value_heads(row) != value_heads(than):
            continue
        contrast = Contrast((row, *beside[1:]), (than, *beside[:1]), claim.get("early", False))
        found.append((claim, contrast))
    return found


def claims_on_costs(ours: Mapping[str, Variant]) -> list[str]:
    """A line for each row of a claim on costs: its counts beside those of QKV."""
    lines = []
    for claim in PAPER["costs"]:
        for key in [key for key in claim["rows"] if {key, claim["than"]} <= ours.keys()]:
            shown, less = [], []
            for name, count in claim["counts"].items():
                own, other = (ours[row].cost(count) for row in (key, claim["than"]))
                if own is not None and other is not None:
                    shown.append(f"{name} {own:,.0f} for {other:,.0f}, {own / other - 1:+.1%}")
                    less.append(own < other)
            if shown:
                words = "all less" if all(less) else "some less" if any(less) else "none less"
                about = f"Claim {claim['claim']}, {PAPER['rows'][key]['label']}: {claim['text']}"
                lines.append(f"- {about}: **{words}** ({'; '.join(shown)})".replace("%", " %"))
    return lines


def published(variants: Sequence[Variant]) -> list[str]:
    """Published results of the training that a variant's config repeats, beside ours."""
    lines = []
    for entry in PAPER["published"]:
        for variant in variants:
            ours = variant.values(entry["metric"]).values()
            repeats = variant.record["config"] == entry["config"]
            if ours and repeats and "variant" not in variant.record:  # which a suite has changed
                both = f"{entry['value']:.2f} published, {fmean(ours):.2f} ours"
                text = f"({variant.label}). {entry['source']} {entry['computed']}"
                lines.append(f"**{entry['name']}: {both}** {text}")
    return lines


def judgment(expected: str, verdict: str) -> str:
    """Supported, contradicted or undecided, from what was claimed and what was shown."""
    if verdict == "inconclusive":
        return "undecided"
    return "supported" if verdict == expected else "contradicted"

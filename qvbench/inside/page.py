"""Sentences that a network read, as one HTML page to explore (``page.html``) and as figures.

Shape letters: H heads, Hk and Hv key and value heads, T tokens, W words.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qvbench.attention.core import repeat_heads
from qvbench.errors import UserError
from qvbench.inside.maps import Kind, LayerMap
from qvbench.inside.reading import Reading
from qvbench.inside.words import Pieces
from qvbench.report.figures import canvas, save

MAX_BYTES = 3_000_000
"""Of a page: what a phone opens at once."""
SIDES: dict[Kind, tuple[str, str]] = {
    "encoder": ("source", "source"),
    "decoder": ("target", "target"),
    "cross": ("target", "source"),
    "causal": ("source", "source"),
}
"""Whose words the queries and the keys are; a tree is the source's."""
LONGEST_WORD = 24
"""Characters of a label: a network far from its training may write words without an end."""


def html_page(title: str, source: str, readings: Sequence[Reading]) -> str:
    """One file that needs no network.

    Raises:
        UserError: it would be larger than ``MAX_BYTES``.
    """
    data = json.dumps([_sentence(reading) for reading in readings], ensure_ascii=False)
    page = resources.files("qvbench.inside").joinpath("page.html").read_text(encoding="utf-8")
    page = page.replace("{title}", html.escape(title)).replace("{source}", html.escape(source))
    page = page.replace("{data}", data.replace("<", "\\u003c"))
    size = len(page.encode())
    if size > MAX_BYTES:
        raise UserError(
            f"the page of {len(readings)} sentences would have {size / 1e6:.1f} MB, and at most "
            f"{MAX_BYTES / 1e6:.0f} are readable; give fewer or shorter ones"
        )
    return page


def _sentence(reading: Reading) -> dict[str, Any]:
    words: dict[str, tuple[str, ...]] = {}
    for kind, sides in reading.sides.items():
        words |= {name: labels(side) for name, side in zip(SIDES[kind], sides, strict=True)}
    gold = reading.sentence
    tree = {"tags": gold.tags, "heads": gold.heads, "relations": gold.relations}
    return {
        "text": " ".join(gold.words),
        "words": words,
        "maps": [_map(found, reading.words(found)) for found in reading.maps],
        "tree": tree if gold.tags or gold.heads else None,
    }


def labels(side: Pieces) -> tuple[str, ...]:
    """The words of a side, long ones cut off."""
    most = LONGEST_WORD
    return tuple(
        w if len(w) <= most else w[: most - 1] + "\N{HORIZONTAL ELLIPSIS}" for w in side.words
    )


def _map(found: LayerMap, probabilities: Tensor) -> dict[str, Any]:
    """Probabilities (H, Wq, Wk) as 16-bit integers, little end first."""
    integers = (probabilities * 65535).round().numpy().astype("<u2")
    queries, keys = SIDES[found.kind]
    return {
        "kind": found.kind,
        "layer": found.layer,
        "from": queries,
        "to": keys,
        "scaled": found.factor is not None,
        "weights": base64.b64encode(integers.tobytes()).decode(),
        "table": norms_and_similarities(found),
    }


def norms_and_similarities(found: LayerMap) -> list[list[float | None]]:
    """For each head the mean norms of queries, keys and values, then mean cosines: of two different
    tokens' queries, keys, values; of a query and a key that it may see; of a token's key and value
    (None where they differ in width, and where there is one token alone)."""
    heads = found.probabilities.shape[1]

    def of_heads(x: Tensor) -> Tensor:
        return repeat_heads(x, heads).expand(-1, heads, -1, -1)[0].double()

    vectors = [of_heads(x) for x in (found.queries, found.keys, found.values)]
    norms = [x.norm(dim=-1).mean(-1) for x in vectors]
    q, k, v = (F.normalize(x, dim=-1) for x in vectors)
    between = [_mean(x @ x.mT, ~torch.eye(x.shape[1], dtype=torch.bool)) for x in (q, k, v)]
    q_k = _mean(q @ k.mT, found.probabilities[0, 0] > 0)
    same_width = k.shape == v.shape
    k_v = (k * v).sum(-1).mean(-1) if same_width else torch.full((heads,), torch.nan)
    table = torch.stack([*norms, *between, q_k, k_v], 1)
    return [[None if x != x else round(x, 4) for x in row] for row in table.tolist()]


def _mean(x: Tensor, chosen: Tensor) -> Tensor:
    return x[:, chosen].mean(-1)


def draw(reading: Reading, folder: Path, prefix: str) -> None:
    """A figure of each attention, a panel a head, as PNG, SVG and PDF named by its path."""
    from matplotlib.colors import PowerNorm

    for found in reading.maps:
        queries, keys = map(labels, reading.sides[found.kind])
        maps = reading.words(found).numpy()
        width, height = (0.6 + 0.115 * max(len(words), 8) for words in (keys, queries))
        columns = min(len(maps), max(1, int(10 / width)))
        rows = -(-len(maps) // columns)
        shared = {"width": columns * width, "sharex": True, "sharey": True}
        figure, panels = canvas(rows * height + 0.3, rows, columns, **shared)
        figure.suptitle(f"{found.name}: rows look at columns", fontsize=8)
        ink = PowerNorm(0.5, 0, 1)  # as on the page: the root of a probability, in all heads
        for head, panel in enumerate(panels):
            if head >= len(maps):
                panel.axis("off")
                continue
            panel.imshow(maps[head], cmap="Blues", norm=ink, interpolation="nearest")
            panel.set_title(f"head {head + 1}, at most {maps[head].max():.2f}", fontsize=7)
            # Dollar signs in words begin no formula.
            panel.set_xticks(range(len(keys)), keys, rotation=90, parse_math=False)
            panel.set_yticks(range(len(queries)), queries, parse_math=False)
            panel.tick_params(length=0, labelsize=6)
        figure.draw_without_rendering()  # once more than to save: labels move the panels
        save(figure, folder, f"{prefix}{found.name}")

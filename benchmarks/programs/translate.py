"""Translation as ``qvbench translate`` does it, from and to ids."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from benchmarks import checks, work
from benchmarks.checks import Expectation
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs import PACKAGES, as_fit_does, load_weights, values_of
from qvbench.cli.profile import build
from qvbench.decoding.translator import Translator
from qvbench.models.facts import counter

REFERENCE_TOKENS = 256
"""Per batch of the reference, so that other sentences share a batch than in any program."""


def export(folder: Path, values: work.Values, tolerance: float) -> Expectation:
    """Trained weights and the test set; the reference is a float64 search."""
    test = work.test_set(values["config"], values.get("checkpoint", ""))
    shape = {**values, **work.shape_of(test.network), "checkpoint": ""}
    work.write(folder, shape, test.network, sources=test.sources)
    exact = copy.deepcopy(test.network).double()
    reference = Translator(
        exact, work.IdLines(), beam_size=values["beam_size"], max_tokens=REFERENCE_TOKENS
    )
    expected = work.translate_ids(reference, test.sources)
    return checks.translations(expected, test.bleu, tolerance)


class Translating:
    """The suite's translator with its own batches."""

    comparable = SAME_FUNCTION

    def __init__(self, folder: Work) -> None:
        values, shape = values_of(folder), folder.shape
        network = build(values["config"], values["overrides"], shape.vocabulary).network
        load_weights(network, folder)
        more = {"max_tokens": shape.max_tokens} if shape.max_tokens else {}
        self._translator = Translator(
            network.to(shape.device),
            work.IdLines(),
            beam_size=shape.beam_size,
            length_penalty=shape.length_penalty,
            **more,
        )
        self._sources = folder.sources()
        self.settings: dict[str, Any] = {
            **as_fit_does(),
            "precision": "32-true",
            "max_tokens": self._translator.max_tokens,
        }
        with counter() as counted:
            self.repeat()
        self.settings["flops_per_item"] = counted.get_total_flops() / len(self._sources)

    def check(self) -> dict[str, Any]:
        """All translations as ids."""
        return {"lines": work.translate_ids(self._translator, self._sources)}

    def repeat(self) -> int:
        """Translate everything."""
        return len(work.translate_ids(self._translator, self._sources))


if __name__ == "__main__":
    serve({"translate": Translating}, PACKAGES)

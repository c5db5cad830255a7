"""Translation as ``qvbench translate`` does it, from and to ids."""

from __future__ import annotations

from typing import Any

from benchmarks.ids import IdLines, ids_of, line_of
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs.common import PACKAGES, as_fit_does, load_weights, values_of
from qvbench.cli.profile_model import build
from qvbench.decoding.translator import Translator
from qvbench.profile.counting import counter


class Translating:
    """The suite's translator with its own batches."""

    comparable = SAME_FUNCTION

    def __init__(self, work: Work) -> None:
        values, shape = values_of(work), work.shape
        network = build(values["config"], values["overrides"], shape.vocabulary).network
        load_weights(network, work)
        more = {"max_tokens": shape.max_tokens} if shape.max_tokens else {}
        self._translator = Translator(
            network.to(shape.device),
            IdLines(),
            beam_size=shape.beam_size,
            length_penalty=shape.length_penalty,
            **more,
        )
        self._lines = [line_of(ids[:-1]) for ids in work.sources()]
        self.settings: dict[str, Any] = {
            **as_fit_does(),
            "precision": "32-true",
            "max_tokens": self._translator.max_tokens,
        }
        with counter() as counted:
            self._translator.translate_lines(self._lines)
        self.settings["flops_per_item"] = counted.get_total_flops() / len(self._lines)

    def check(self) -> dict[str, Any]:
        """All translations as ids."""
        return {"lines": [ids_of(line) for line in self._translator.translate_lines(self._lines)]}

    def repeat(self) -> int:
        """Translate everything."""
        return len(self._translator.translate_lines(self._lines))


if __name__ == "__main__":
    serve({"translate": Translating}, PACKAGES)

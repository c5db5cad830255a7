"""Sampling beside ``transformers``: what may be drawn, what is drawn, and greedy texts."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from qvbench.attention import ATTENTION
from qvbench.decoding.sampling import Sampling, generate
from qvbench.models.decoder_only import DecoderOnly
from qvbench.models.pretrained import load_pretrained
from qvbench.positions import POSITIONS
from tests.models.test_pretrained import VOCABULARY, gpt2, in_float64, llama
from tests.pairs import MECHANISMS, Part, network_pairs

GREEDY = Sampling(temperature=0.0)
PROMPTS = [[3, 1, 4], [1, 5], [9, 2, 6], [5], [3, 5]]


def random_logits(rows: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(rows, 50, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, 1.0), (0.7, 5, 1.0), (1.3, None, 0.9), (2.0, 20, 0.5), (0.5, 99, 1e-9), (1, 1, 1)],
)
def test_what_is_drawn_from_is_transformers(temperature: float, top_k: Any, top_p: float) -> None:
    """Catches a nucleus without the token that completes it, or of what top-k has dropped; a
    temperature that comes after them; ties broken at the last place."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = random_logits()
    logits[:8] = logits[:8].round()  # many are as likely as others
    if top_p < 1:
        logits = logits[8:]  # of equals at the border of a nucleus either may stay
    expected = TemperatureLogitsWarper(float(temperature))(None, logits)
    for warper in (top_k and TopKLogitsWarper(top_k), top_p < 1 and TopPLogitsWarper(top_p)):
        expected = warper(None, expected) if warper else expected
    found = Sampling(temperature, top_k, top_p).probabilities(logits)
    torch.testing.assert_close(found, expected.softmax(-1))
    assert torch.equal(found > 0, expected > -torch.inf)


def test_tokens_come_as_often_as_they_are_likely() -> None:
    """Catches a draw that is off by one, one of what is not kept at either end of the unit, and
    logits that overflow at a low temperature."""
    logits, sampling = random_logits(1), Sampling(top_k=6)
    (likely,) = sampling.probabilities(logits)
    numbers = (torch.arange(20_000, dtype=torch.float32) + 0.5) / 20_000
    tokens = sampling.choose(logits.expand(20_000, -1), numbers)
    shares = tokens.bincount(minlength=50) / 20_000
    assert (shares - likely).abs().max() <= 1 / 20_000
    ends = torch.tensor([0.0, 1 - 2**-24])
    for row in random_logits():
        kept = sampling.probabilities(row[None])[0].nonzero()[:, 0]
        assert sampling.choose(row.expand(2, -1), ends).tolist() == kept[[0, -1]].tolist()
    for temperature in (1e-38, 1e-300):
        found = Sampling(temperature).choose(random_logits(2).float(), ends)
        assert torch.equal(found, random_logits(2).argmax(-1))
    found = Sampling(top_p=1e-50).choose(random_logits(2), ends)
    assert torch.equal(found, random_logits(2).argmax(-1)), "none is kept"


@pytest.mark.parametrize("build", [gpt2, llama])
def test_greedy_texts_are_those_of_transformers(build: Any, tmp_path: Any) -> None:
    """Catches a prompt whose last token is read twice or never, and a step too many."""
    torch.manual_seed(0)
    oracle = build()
    for parameter in oracle.parameters():
        parameter.data.normal_(parameter.mean().item(), 0.2)
    oracle.save_pretrained(tmp_path)
    network, oracle = load_pretrained(tmp_path).double(), in_float64(oracle)
    found = generate(network, PROMPTS, GREEDY, 20, batch_size=2)
    for prompt, text in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        expected = oracle.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, **settings
        )
        assert text == expected[0].tolist()
    assert len({tuple(text[-5:]) for text in found}) > 1


def small(mechanism: Part, scheme: Part) -> DecoderOnly:
    torch.manual_seed(0)
    parts = (
        partial(part[p[0]], **p[1]) for part, p in ((ATTENTION, mechanism), (POSITIONS, scheme))
    )
    sizes = {"d_model": 16, "num_heads": 4, "layers": 2, "ffn_dim": 24}
    network = DecoderOnly(VOCABULARY, -1, *parts, **sizes)
    for parameter in network.parameters():
        parameter.data.normal_(parameter.mean().item(), 0.3)
    return network.double()


CASES = [
    *((*pair, None) for pair in network_pairs(MECHANISMS)),
    *((("qv", {}), ("learned", {"max_length": n}), None) for n in (1, 7)),
    *((("qv", {}), ("learned", {"max_length": 7}), n) for n in (5, 9)),
    *((("qv", {}), ("rope", {}), n) for n in (1, 5)),
]


@pytest.mark.parametrize(("mechanism", "scheme", "context"), CASES, ids=str)
def test_texts_are_those_without_a_cache(mechanism: Part, scheme: Part, context: Any) -> None:
    """Catches a cache that goes wrong within a text, and a window that slides too early, too late,
    or over what a cache still holds."""
    sampling = Sampling(temperature=1.5, seed=3)
    network = small(mechanism, scheme)
    (text,) = generate(network, PROMPTS[:1], sampling, 9, context=context)
    assert network.training
    ids, window = list(PROMPTS[0]), min(context or 99, scheme[1].get("max_length", 99))
    for number in sampling.numbers(PROMPTS[0], 0, 9):
        with torch.no_grad():
            hidden = network.eval()(torch.tensor([ids[-window:]]))
        ids += sampling.choose(network.project(hidden[:, -1]), number[None]).tolist()
    assert text == ids


def test_a_seed_gives_the_same_texts_whatever_is_beside_them() -> None:
    """Catches draws that depend on the batch, on other prompts or on how many tokens are wanted,
    samples that are one, and texts in another order than their prompts."""
    network = small(("qv", {}), ("none", {}))
    sampling = Sampling(seed=5)
    whole = generate(network, PROMPTS, sampling, 12, num_samples=3, batch_size=4)
    for number, prompt in enumerate(PROMPTS):
        own = whole[3 * number : 3 * number + 3]
        assert own == generate(network, [prompt], sampling, 12, num_samples=3, batch_size=1)
        assert own[0][:-5] == generate(network, [prompt], sampling, 7)[0]
        assert len({tuple(text) for text in own}) == 3
        assert all(text[: len(prompt)] == prompt for text in own)
    assert whole != generate(network, PROMPTS, Sampling(seed=6), 12, num_samples=3)


def test_prompts_have_random_numbers_of_their_own() -> None:
    """Catches the same draws for every prompt, which make the texts of two prompts alike."""
    sampling = Sampling(seed=5)
    drawn = [sampling.numbers(p, n, 4).tolist() for p in ([], [1], [2], [2, 1]) for n in range(2)]
    assert len({tuple(numbers) for numbers in drawn}) == 8
    assert drawn[2] == sampling.numbers([1], 0, 4).tolist()


def test_a_text_ends_before_the_token_that_stops_it() -> None:
    """Catches a batch that ends with its first text or goes on to its last token, a text with the
    token that ends it or with what comes after, and a prompt that is taken for its own end."""
    network, sampling, seen = small(("qv", {}), ("none", {})), Sampling(seed=1), []
    whole = generate(network, PROMPTS, sampling, 40, num_samples=2)
    stop = whole[0][len(PROMPTS[0]) + 3]
    prompts = [[*prompt[:-1], stop, prompt[-1]] for prompt in PROMPTS]
    whole = generate(network, prompts, sampling, 40, num_samples=2)
    found = generate(network, prompts, sampling, 40, 2, stop=stop, each=seen.append)
    for number, (text, ended) in enumerate(zip(whole, found, strict=True)):
        new = text[len(prompts[number // 2]) :]
        assert ended == text[: len(text) - len(new)] + new[: (*new, stop).index(stop)]
    lengths = {len(text) - len(prompts[n // 2]) for n, text in enumerate(found)}
    assert len(lengths) > 2
    longest: dict[int, int] = {}
    for number, text in enumerate(found):
        size = len(prompts[number // 2])
        longest[size] = max(longest.get(size, 0), len(text) - size)
    assert len(seen) == sum(longest.values())


def test_tokens_are_shown_when_they_are_known() -> None:
    """Catches a stream that comes at the end, or leaves a token out."""
    seen: list[int] = []
    network = small(("qv", {}), ("none", {}))
    (text,) = generate(
        network, [[1, 2]], GREEDY, 9, each=lambda tokens: seen.extend(tokens.tolist())
    )
    assert text == [1, 2, *seen]
    assert len(seen) == 9

"""Work of language models, on random ids: what its programs start from, and the suite's own."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import torch

from benchmarks import checks
from benchmarks.checks import Judge
from benchmarks.protocol import Shape, Task, Work, each_time
from benchmarks.translation import sizes_of, train, write_task
from qvbench.cli.profile import build
from qvbench.decoding.sampling import Sampling
from qvbench.decoding.sampling import generate as continued

GREEDY = Sampling(temperature=0.0)


def random_ids(shape: Shape, *size: int) -> np.ndarray:
    """The same every time."""
    return np.random.default_rng(0).integers(shape.vocabulary, size=size)


def write_text(work: Work, shape: Shape, tolerance: float) -> Judge:
    """Initial weights and windows of random ids, which are pairs without a source."""
    task = build(shape.config, shape.overrides, shape.vocabulary).task
    ids = torch.from_numpy(random_ids(shape, shape.batches, shape.rows, shape.length + 1))
    pairs = [(windows[:, :0], windows) for windows in ids]
    return checks.loss(write_task(work, task, pairs, shape), tolerance)


def write_generate(work: Work, shape: Shape, tolerance: float) -> Judge:
    """Random weights, so large that no two tokens are about as likely; float64 goes on."""
    network = build(shape.config, shape.overrides, shape.vocabulary).task.network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    prompts = random_ids(shape, shape.rows, shape.length).tolist()
    shape = SimpleNamespace(**{**vars(shape), **sizes_of(network)})
    work.write(shape, network.state_dict(), sources=prompts)
    exact = copy.deepcopy(network).double()
    return checks.texts(continued(exact, prompts, GREEDY, shape.new_tokens))


text = train  # windows are batches like others


def generate(work: Work) -> Task:
    """As ``qvbench generate`` goes on, taking the likeliest token each time."""
    shape, prompts = work.shape, work.sources()
    network = build(shape.config, shape.overrides, shape.vocabulary).task.network
    network.load_state_dict(work.weights())

    def texts() -> list[list[int]]:
        return continued(network, prompts, GREEDY, shape.new_tokens)

    items = len(prompts) * shape.new_tokens
    return Task(lambda: {"lines": texts()}, each_time(texts), items, {"rows": shape.rows})


WORK = {"text": write_text, "generate": write_generate}

"""transformers' GPT-2 as a peer: trained as its Trainer would, and ``generate`` with its cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.peers import nanogpt
from benchmarks.peers.torch_transformer import load, training
from benchmarks.protocol import Shape, Task, Work, each_time


def build(work: Work) -> GPT2LMHeadModel:
    """The model with our weights; its matrices are (in, out), and it has biases everywhere."""
    shape = work.shape
    config = GPT2Config(
        **{"vocab_size": shape.vocabulary, "n_positions": shape.positions, "n_layer": shape.layers},
        **{"n_embd": shape.d_model, "n_head": shape.num_heads, "n_inner": shape.d_ff},
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        **{"activation_function": "gelu", "bos_token_id": None, "eos_token_id": None},
    )
    model = GPT2LMHeadModel(config)
    load(
        model,
        {
            name: tensor.t() if ".c_" in name and tensor.dim() == 2 else tensor
            for name, tensor in nanogpt.converted(work.weights()).items()
        },
    )
    return model


def mean_loss(model: GPT2LMHeadModel, shape: Shape, source: Tensor, target: Tensor) -> Tensor:
    logits = model(input_ids=target[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())


def text(work: Work) -> Task:
    """Trainer's own optimizer, fused AdamW."""
    shape, model = work.shape, build(work)
    adam = {"lr": shape.learning_rate, "betas": shape.betas, "weight_decay": 0.1, "fused": True}
    optimizer = torch.optim.AdamW(model.parameters(), **adam)
    return training(work, model, mean_loss, optimizer, shape.precision)


@torch.inference_mode()
def generate(work: Work) -> Task:
    shape, model = work.shape, build(work).eval()
    prompts = torch.tensor(work.sources())
    settings = {"do_sample": False, "max_new_tokens": shape.new_tokens, "pad_token_id": 0}

    @torch.inference_mode()
    def texts() -> Tensor:
        mask = torch.ones_like(prompts)
        found: Tensor = model.generate(prompts, attention_mask=mask, use_cache=True, **settings)
        return found

    items = len(prompts) * shape.new_tokens
    return Task(lambda: {"lines": texts().tolist()}, each_time(texts), items, settings)

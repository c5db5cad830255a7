"""transformers' MarianMTModel as a peer: the same sizes, trained as transformers' Trainer would.

Marian normalizes after each sublayer's sum and has no final norms, and transformers has no switch
for that: loaded with our weights it is another function of the same shape. With a post-norm network
of ours it agrees, which the tests check.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import MarianConfig, MarianMTModel
from transformers.trainer_pt_utils import LabelSmoother

from benchmarks import protocol
from benchmarks.peers.torch_transformer import NORM_EPS, POSITIONS, load, sinusoids, training
from benchmarks.protocol import Shape, Task, Weights, Work

COMPARABLE = f"{protocol.OTHER_FUNCTION}: Marian has layer norms after its sums and none at the end"
IGNORED = -100  # a label that transformers leaves out of the loss
NAMES = (
    (r"^(source|target)_embeddings\.tokens\.", "model.shared."),
    (r"^(encoder|decoder)\.(\d+)\.", r"model.\1.layers.\2."),
    (r"\.cross_attention_residual\.norm\.", ".encoder_attn_layer_norm."),
    (r"\.attention_residual\.norm\.", ".self_attn_layer_norm."),
    (r"\.feed_forward_residual\.norm\.", ".final_layer_norm."),
    (r"\.cross_attention\.", ".encoder_attn."),
    (r"\.attention\.", ".self_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"\.output\.", ".out_proj."),
    (r"\.feed_forward\.widen\.", ".fc1."),
    (r"\.feed_forward\.narrow\.", ".fc2."),
    (r"^output_bias$", "final_logits_bias"),
)


def config(shape: Shape) -> MarianConfig:
    return MarianConfig(
        **{"vocab_size": shape.vocabulary, "max_position_embeddings": POSITIONS},
        **{"d_model": shape.d_model, "scale_embedding": True, "activation_function": "relu"},
        **{"encoder_layers": shape.encoder_layers, "decoder_layers": shape.decoder_layers},
        encoder_attention_heads=shape.num_heads,
        decoder_attention_heads=shape.num_heads,
        **{"encoder_ffn_dim": shape.d_ff, "decoder_ffn_dim": shape.d_ff},
        **{"dropout": shape.dropout, "activation_dropout": shape.ffn_dropout},
        attention_dropout=shape.attention_dropout,
        **{"pad_token_id": shape.pad, "bos_token_id": shape.bos, "eos_token_id": shape.eos},
        **{"forced_eos_token_id": None, "decoder_start_token_id": shape.bos},
    )


def converted(weights: Weights) -> dict[str, Tensor]:
    """Our state dict under Marian's names, without the final norms that it has no place for."""
    norms = ("encoder_norm.", "decoder_norm.")
    own = {name: tensor for name, tensor in weights.items() if not name.startswith(norms)}
    theirs = protocol.renamed(own, NAMES)
    return {**theirs, "final_logits_bias": theirs["final_logits_bias"][None]}


def build(shape: Shape, weights: Weights) -> MarianMTModel:
    """The model with our weights, our order of sines and cosines, and our epsilon."""
    model = MarianMTModel(config(shape))
    load(model, converted(weights))
    with torch.no_grad():
        for stack in (model.model.encoder, model.model.decoder):
            stack.embed_positions.weight.copy_(sinusoids(shape.d_model))
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = NORM_EPS  # theirs is 1e-5 and no option
    return model


def mean_loss(model: MarianMTModel, shape: Shape, source: Tensor, target: Tensor) -> Tensor:
    """The loss as Trainer computes it: the model's logits through transformers' LabelSmoother."""
    labels = target[:, 1:].masked_fill(target[:, 1:] == shape.pad, IGNORED)
    output = model(
        input_ids=source,
        attention_mask=source != shape.pad,
        decoder_input_ids=target[:, :-1],
        use_cache=False,
    )
    loss: Tensor = LabelSmoother(shape.label_smoothing, IGNORED)(output, labels)
    return loss


def train(work: Work) -> Task:
    """Trainer's own optimizer, fused AdamW; without decay it is Adam."""
    shape = work.shape
    model = build(shape, work.weights())
    adam = {"lr": shape.learning_rate, "betas": shape.betas, "weight_decay": 0.0, "fused": True}
    optimizer = torch.optim.AdamW(model.parameters(), **adam)
    return training(work, model, mean_loss, optimizer, shape.precision, COMPARABLE)

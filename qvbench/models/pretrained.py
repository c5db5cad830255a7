"""GPT-2's and Llama's published weights in our network: folders as Hugging Face writes them.

A folder holds ``config.json`` and the weights in ``*.safetensors``, or as a state dict that
``torch.save`` wrote (``pytorch_model*.bin``). Nothing of it is executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qvbench.attention import ATTENTION
from qvbench.errors import UserError
from qvbench.models.decoder_only import DecoderOnly
from qvbench.positions import POSITIONS

TOLERANCE = 100  # of logits against the largest, in roundings of the weights' type

Weights = dict[str, Tensor]


def load_pretrained(folder: Path) -> DecoderOnly:
    """The network of a folder, in evaluation mode, in float32.

    Raises:
        UserError: a file is missing or damaged, or the model is not one that is known here.
    """
    config = _read_config(folder / "config.json")
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise UserError(f"{folder}: a model of type {family}; known are: {', '.join(FAMILIES)}")
    build, convert = FAMILIES[family]
    given = read_weights(folder)
    try:
        network = build(config)
        weights = convert(given, config)
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        layers = int(config.get("n_layer") or config["num_hidden_layers"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # of the config or the weights
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: not the {family} that its config tells ({reason})") from error
    if any(re.search(rf"\b(h|layers)\.{layers}\.", name) for name in given):
        raise UserError(f"{folder}: config.json tells of {layers} layers, the weights have more")
    return network.eval()


@torch.no_grad()
def copy_weights(source: DecoderOnly, target: DecoderOnly, where: str) -> None:
    """Give ``target`` the weights of a network that computes the same.

    Raises:
        UserError: ``target`` has other weights, or computes something else with them; the message
            begins with ``where``.
    """
    given, own = source.state_dict(), target.state_dict()
    for name in dict.fromkeys([*own, *given]):
        there, here = (list(w[name].shape) if name in w else "not" for w in (given, own))
        if there != here:
            what = f"{where}: of another network than the config's: {name} is {there} there"
            tokenizer = "; data.tokenizer takes the path of its tokenizer.json"
            of_ids = name in ("embeddings.tokens.weight", "output.weight")
            raise UserError(f"{what}, {here} here{tokenizer if of_ids else ''}")
    target.load_state_dict(given)
    ids = torch.arange(min(16, target.max_length or 16))[None] % len(target.output_weight)
    training = target.training
    theirs, ours = (network.project(network.eval()(ids)) for network in (source, target))
    target.train(training)
    rounding = torch.finfo(target.output_weight.dtype).eps
    if not (theirs - ours).abs().max() <= TOLERANCE * rounding * theirs.abs().max():
        raise UserError(
            f"{where}: its weights fit the config's network, which computes something else with "
            "them; compare activation, norm, norm_eps, placement and RoPE's base with config.json"
        )


def read_weights(folder: Path) -> Weights:
    """All tensors in a folder's files, by name."""
    # Not ``*.bin``: a training leaves its arguments beside the weights, as a pickle.
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        what = "neither *.safetensors nor pytorch_model*.bin"
        raise UserError(f"{folder}: no weights there, {what}")
    weights: Weights = {}
    for file in files:
        try:
            if file.suffix == ".safetensors":
                from safetensors.torch import load_file

                weights |= load_file(file)
            else:
                weights |= torch.load(file, map_location="cpu", weights_only=True)
        except ImportError:
            raise UserError(f"{file}: to read it, pip install 'qvbench[pretrained]'") from None
        except Exception as error:  # each format has exceptions of its own for what is damaged
            raise UserError(f"{file}: cannot be read ({error}); fetch it again") from error
    return weights


def build_gpt2(config: Mapping[str, Any]) -> DecoderOnly:
    """GPT-2 (Radford et al. 2019) of a ``config.json``, with initial weights."""
    width, activations = config["n_embd"], {"gelu_new": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
    _refuse_unless(config, "activation_function", activations)
    _refuse_unless(config, "scale_attn_weights", (True,), default=True)
    _refuse_unless(config, "scale_attn_by_inverse_layer_idx", (False,), default=False)
    return DecoderOnly(
        config["vocab_size"],
        -1,
        _with(ATTENTION["qkv"], bias=True),
        _with(POSITIONS["learned"], max_length=config["n_positions"]),
        d_model=width,
        num_heads=config["n_head"],
        layers=config["n_layer"],
        ffn_dim=config.get("n_inner") or 4 * width,
        norm_eps=config["layer_norm_epsilon"],
        activation=activations[config["activation_function"]],  # type: ignore[arg-type]
        bias=True,
        tied=config.get("tie_word_embeddings", True),
    )


def convert_gpt2(weights: Weights, config: Mapping[str, Any]) -> Weights:
    """GPT-2's tensors under our names. Its matrices are (in, out), one for query, key and value."""
    weights = {name.removeprefix("transformer."): value for name, value in weights.items()}
    ours = {
        "embeddings.tokens.weight": weights["wte.weight"],
        "embeddings.position.table": weights["wpe.weight"],
        "final_norm.weight": weights["ln_f.weight"],
        "final_norm.bias": weights["ln_f.bias"],
    }
    if not config.get("tie_word_embeddings", True):
        ours["output.weight"] = weights["lm_head.weight"]
    parts = {
        "attention.output": "attn.c_proj",
        "attention_residual.norm": "ln_1",
        "feed_forward.widen": "mlp.c_fc",
        "feed_forward.narrow": "mlp.c_proj",
        "feed_forward_residual.norm": "ln_2",
    }
    for number in range(config["n_layer"]):
        for kind in ("weight", "bias"):
            for own, theirs in parts.items():
                ours[f"layers.{number}.{own}.{kind}"] = weights[f"h.{number}.{theirs}.{kind}"].t()
            joint = weights[f"h.{number}.attn.c_attn.{kind}"].t()
            for own, part in zip(("query", "key", "value"), joint.chunk(3), strict=True):
                ours[f"layers.{number}.attention.{own}.{kind}"] = part
    return ours


def build_llama(config: Mapping[str, Any]) -> DecoderOnly:
    """Llama (Touvron et al. 2023, arXiv:2302.13971) of a ``config.json``, with initial weights."""
    # Version 5 of transformers keeps the rotation's settings together, older ones beside others,
    # and those before 4.43 call rope_type type.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    defaults = {"rope_theta": config.get("rope_theta", 10000.0)}
    rope = {**defaults, "rope_type": rope.get("type", "default"), **rope}
    _refuse_unless(rope, "rope_type", ("default",))
    _refuse_unless(config, "hidden_act", ("silu",))
    _refuse_unless(config, "mlp_bias", (False,), default=False)
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    attention = _with(
        ATTENTION["qkv"] if groups == heads else _with(ATTENTION["gqa"], num_kv_heads=groups),
        head_dim=config.get("head_dim"),
        bias=config.get("attention_bias", False),
    )
    return DecoderOnly(
        config["vocab_size"],
        -1,
        attention,
        _with(POSITIONS["rope"], base=rope["rope_theta"]),
        d_model=config["hidden_size"],
        num_heads=heads,
        layers=config["num_hidden_layers"],
        ffn_dim=config["intermediate_size"],
        norm="rms",
        norm_eps=config["rms_norm_eps"],
        activation="swiglu",
        tied=config.get("tie_word_embeddings", False),
    )


def convert_llama(weights: Weights, config: Mapping[str, Any]) -> Weights:
    """Llama's tensors under our names, the rows of queries and keys in our order of pairs."""
    ours = {
        "embeddings.tokens.weight": weights["model.embed_tokens.weight"],
        "final_norm.weight": weights["model.norm.weight"],
    }
    if not config.get("tie_word_embeddings", False):
        ours["output.weight"] = weights["lm_head.weight"]
    parts = {
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "attention_residual.norm": "input_layernorm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.widen": "mlp.up_proj",
        "feed_forward.narrow": "mlp.down_proj",
        "feed_forward_residual.norm": "post_attention_layernorm",
    }
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    for number in range(config["num_hidden_layers"]):
        for own, theirs in parts.items():
            for kind in ("weight", "bias"):
                tensor = weights.get(f"model.layers.{number}.{theirs}.{kind}")
                if tensor is not None:
                    rotated = own in ("attention.query", "attention.key")
                    named = f"layers.{number}.{own}.{kind}"
                    ours[named] = interleaved(tensor, width) if rotated else tensor
    return ours


def interleaved(rows: Tensor, width: int) -> Tensor:
    """Rows (H * D, ...) of a projection to heads of a width D, for our RoPE.

    Llama turns row i with row i + D / 2; ours, as RoFormer's equations, row 2 i with row 2 i + 1.
    """
    return rows.unflatten(0, (-1, 2, width // 2)).transpose(1, 2).flatten(0, 2)


FAMILIES = {"gpt2": (build_gpt2, convert_gpt2), "llama": (build_llama, convert_llama)}
"""By ``model_type``: what builds the network of a config, and what renames its weights."""


def _with(part: Any, **settings: Any) -> Any:
    """A mechanism or scheme with settings of its own class, as a config gives it to a network."""
    return partial(part, **settings)


def _read_config(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: not a config of a model ({error})") from None


def _refuse_unless(config: Mapping[str, Any], key: str, known: Any, default: Any = None) -> None:
    """UserError for a setting with which the network would compute something else."""
    value = config.get(key, default)
    if value not in known:
        raise UserError(f"config.json: {key} is {value}; known here: {', '.join(map(str, known))}")

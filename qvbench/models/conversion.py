"""From a trained network with keys to another mechanism: what its weights say, and a batch of text.

All that both networks have is copied; then each attention layer follows a rule:

* **Heads that are shared** (GQA, MQA, V-shared, shared key): the mean of the key or value
  projections of a group (Ainslie et al. 2023, arXiv:2305.13245, section 2.1). Of a source that
  shares them already, a head of the target has a copy of its group's.
* **No keys** (QV, GQA-QvVv): the keys ``K_i`` (N, D) that a head makes of N tokens of text are
  regressed on its values, ``K_i ≈ V_i A_i``, and ``A_i`` moves to the query: ``q · (v A) =
  (q A^T) · v``. Of all queries this has the least squared error of the logits between the N tokens
  and any queries, since the map that fits the logits does not depend on these.
* **Keys from values and a context** (QV-Ka): the context is the C directions in which the keys of
  all heads vary most beyond what values explain, read off the token; then ``K_i`` is regressed on
  ``[G; V_i]``, which gives ``W_i^K``.

What all keys have in common does not count where a softmax would cancel it, so regressions have an
intercept; but not under a scheme that multiplies logits or rotates keys. Under one that rotates
keys, ``A_i`` has to commute with rotations to move to the query: then it is a complex number for
each pair of columns.

Shape letters: B batch, L tokens, N tokens in all, H heads, D head width, F features, C context
width, d model width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qvbench.attention import ATTENTION, Attention
from qvbench.attention.core import repeat_heads
from qvbench.errors import UserError
from qvbench.models.layers import Embeddings

RIDGE = 1e-6  # of the features' mean square, added to their squares

Tokens = dict[str, Tensor]  # by the name of an attention layer, (N, d)


@torch.no_grad()
def convert(source: nn.Module, target: nn.Module, read_text: Callable[[], object]) -> None:
    """Give ``target`` the weights of ``source``, of whose network only the mechanism differs.

    Args:
        source: trained, with mechanism QKV or GQA.
        target: a network of the same shape with another mechanism.
        read_text: passes some text through ``source``.

    Raises:
        UserError: there is no rule for the mechanism of one of the two.
    """
    layers, given = attention_layers(target), attention_layers(source)
    for name, layer in layers.items():
        if (kind := ATTENTION.name_of(type(given[name]))) not in SOURCES:
            known = " or ".join(SOURCES)
            raise UserError(f"convert: from {kind} there is no way; give a checkpoint of {known}")
        if (kind := ATTENTION.name_of(type(layer))) not in RULES:
            raise UserError(f"convert: to {kind} there is no way; known are: {', '.join(RULES)}")
        token = _token(layer)
        before = given[name].project_kv(token)[0].shape[-1]
        after = layer.keys_values(layer.project_kv(token))[0].shape[-1]
        if layer.head_dim != before:
            raise UserError("convert: keys have another width than the values that replace them")
        if after != before:
            raise UserError(f"convert: keys are {before} wide, and {after} in the new mechanism")
    copied = source.state_dict()
    if not all(weight.isfinite().all() for weight in copied.values()):  # of published ones
        raise UserError("convert: the weights of the checkpoint are not finite")
    kept = {
        name: copied[name] if _fits(copied.get(name), value) else value
        for name, value in target.state_dict().items()
    }
    target.load_state_dict(kept)
    tokens = tokens_of_keys(source, read_text)
    for name, layer in layers.items():
        RULES[ATTENTION.name_of(type(layer))](given[name], layer, tokens[name])


def attention_layers(network: nn.Module) -> dict[str, Attention]:
    """By name, in the order of the network."""
    return {name: m for name, m in network.named_modules() if isinstance(m, Attention)}


def tokens_of_keys(network: nn.Module, read_text: Callable[[], object]) -> Tokens:
    """The hidden states from which each attention layer makes keys as the network reads a text,
    without those of padding."""
    found: dict[str, list[Tensor]] = {name: [] for name in attention_layers(network)}
    real: Any = slice(None)

    def embed(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal real  # of the ids that the layers after it read
        real = args[0] != network.padding_id

    def listener(name: str) -> Callable[..., None]:
        def listen(_: nn.Module, args: tuple[Tensor, ...], settings: dict[str, Any]) -> None:
            mask = settings.get("mask")
            of_keys = mask is not None and mask.dim() == 2  # others hide from some queries alone
            found[name].append(args[-1][mask if of_keys else real].flatten(0, -2))

        return listen

    layers = attention_layers(network).items()
    hooks = [m.register_forward_pre_hook(listener(n), with_kwargs=True) for n, m in layers]
    embeddings = (m for m in network.modules() if isinstance(m, Embeddings))
    hooks += [m.register_forward_pre_hook(embed) for m in embeddings]
    try:
        read_text()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def pool(source: Any, target: Any, tokens: Tensor) -> None:
    """Keys and values that heads come to share are the means of those that they had; those that
    they come to have for themselves are what they shared."""
    for name in ("key", "value"):
        if hasattr(target, name):
            own, theirs = getattr(target, name), getattr(source, name)
            groups, had = (each.out_features // target.head_dim for each in (own, theirs))
            if groups % had and had % groups:
                raise UserError(f"convert: {groups} {name} heads cannot be made of {had}")
            for part, given in zip(own.parameters(), theirs.parameters(), strict=True):
                heads = given.unflatten(0, (had, target.head_dim))
                if groups < had:
                    heads = heads.unflatten(0, (groups, -1)).mean(1)
                part.copy_(heads.repeat_interleave(groups // len(heads), 0).flatten(0, 1))


def absorb_keys(source: Any, target: Any, tokens: Tensor) -> None:
    """The query takes up the map from values to keys."""
    pool(source, target, tokens)
    keys, values = _keys_values(source, target, tokens)
    if target.position.rotates:
        map_ = _fit_pairs(values, keys)
    else:
        map_, _ = fit(values, keys, intercept=not target.position.multiplies)
    for part, given in zip(target.query.parameters(), source.query.parameters(), strict=True):
        heads = given.double().reshape(target.num_heads, target.head_dim, -1)
        part.copy_((map_ @ heads).reshape(part.shape))


def add_context(source: Any, target: Any, tokens: Tensor) -> None:
    """A context of what values do not know of the keys, and the keys made of both."""
    pool(source, target, tokens)
    keys, values = _keys_values(source, target, tokens)
    free = not (target.position.multiplies or target.position.rotates)
    intercept = free or target.key_bias is not None
    map_, _ = fit(values, keys, intercept)
    unknown = _per_head(source.key, target) - map_.mT @ _per_head(target.value, target)
    unknown = unknown.reshape(target.context_heads, -1, target.d_model)  # of a token, to (1 or H)
    parts = tokens.double() @ unknown.mT
    if intercept:
        parts = parts - parts.mean(1, keepdim=True)
    _, directions = torch.linalg.eigh(parts.mT @ parts)  # ascending
    wanted = directions[..., -target.context_dim :].mT
    rows = unknown.new_zeros(target.context_heads, target.context_dim, target.d_model)
    rows[:, : wanted.shape[1]] = wanted @ unknown  # fewer where all keys have fewer columns
    for parameter in target.context.parameters():  # a bias would be one of the keys'
        parameter.zero_()
    target.context.weight.copy_(rows.flatten(0, 1))
    context = (tokens.double() @ rows.mT).expand(target.num_heads, -1, -1)
    map_, bias = fit(torch.cat((context, values), -1), keys, intercept)
    target.key_weight.copy_(map_)
    if target.key_bias is not None:
        target.key_bias.copy_(bias)


SOURCES = ("qkv", "gqa")
"""Mechanisms that there are rules from."""

RULES: dict[str, Callable[[Any, Any, Tensor], None]] = {
    "qkv": pool,
    "gqa": pool,
    "v_shared": pool,
    "shared_key": pool,
    "qv": absorb_keys,
    "gqa_qv": absorb_keys,
    "qvka": add_context,
}
"""By mechanism: what is done to a layer beyond copying what it has in common with the source's."""


def fit(features: Tensor, keys: Tensor, intercept: bool) -> tuple[Tensor, Tensor]:
    """Ridge regression of keys (H, N, D) on features (H, N, F): map (H, F, D), intercept (H, 1, D),
    which is zero unless it is asked for."""
    center, middle = features.mean(1, keepdim=True), keys.mean(1, keepdim=True)
    if not intercept:
        center, middle = torch.zeros_like(center), torch.zeros_like(middle)
    features, keys = features - center, keys - middle
    square = features.mT @ features
    ridge = RIDGE * square.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-30)[:, None, None]
    identity = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    found = torch.linalg.solve(square + ridge * identity, features.mT @ keys)
    return found, middle - center @ found


def _fit_pairs(values: Tensor, keys: Tensor) -> Tensor:
    """The same for maps (H, D, D) that commute with rotations: each pair of columns times a complex
    number."""
    v, k = (torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) for x in (values, keys))
    number = (v.conj() * k).sum(1) / (v.abs() ** 2).sum(1).clamp(min=1e-30)  # (H, D / 2)
    real, imaginary = number.real, number.imag
    blocks = torch.stack((real, imaginary, -imaginary, real), -1).unflatten(-1, (2, 2))
    return torch.stack([torch.block_diag(*head) for head in blocks])


def _keys_values(source: Any, target: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Keys of the source, and values that the target has by now, of each head: (H, N, D)."""
    k, _ = source.keys_values(source.project_kv(tokens[None]))
    k = repeat_heads(k, target.num_heads).expand(-1, target.num_heads, -1, -1)
    groups = target.value.out_features // target.head_dim
    v = repeat_heads(target.split(target.value(tokens[None]), groups), target.num_heads)
    return k[0].double(), v[0].double().expand(target.num_heads, -1, -1)


def _per_head(projection: nn.Linear, target: Any) -> Tensor:
    """Weights of each head (H, D, d) of a projection, whose heads several may share."""
    heads = projection.weight.double().unflatten(0, (-1, target.head_dim))
    return heads.repeat_interleave(target.num_heads // len(heads), dim=0)


def _token(layer: Attention) -> Tensor:
    return layer.output.weight.new_zeros(1, 1, layer.d_model)


def _fits(given: Tensor | None, own: Tensor) -> bool:
    return given is not None and given.shape == own.shape

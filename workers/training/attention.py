"""Causal attention inside each sequence of a pack, and never across two.

Registered with transformers under the name `packed`; a model that asks for it is given the ends of the
sequences by `cu_seq_lens_q` and `max_length_q`, the names that transformers passes down to its layers.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from workers.training.packing import SHAPE_STEP

NAME = "packed"
# With a sliding window, queries are taken so many at a time and see only the keys that they can.
WINDOW_BLOCK = 256
# Arguments that some architectures give their attention and that change its result.
_UNSUPPORTED = ("softcap", "s_aux")


class UnsupportedAttention(Exception):
    """The model needs a kind of attention that this is not."""


def register() -> None:
    """Makes `attn_implementation="packed"` known to transformers, which then builds no mask at all."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """`query` is [1, heads, tokens, width], `key` and `value` may have fewer heads; returns [1, tokens,
    heads, width]. With a sliding window of w a token sees itself and the w-1 before it.

    Raises UnsupportedAttention."""
    for name in _UNSUPPORTED:
        if named.get(name) is not None:
            raise UnsupportedAttention(
                f"{type(module).__name__} needs attention with {name}, which cannot be trained."
            )
    if dropout:
        raise UnsupportedAttention(
            f"{type(module).__name__} needs attention with dropout, which cannot be trained."
        )
    bounds: Tensor = named["cu_seq_lens_q"]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _flash(query, key, value, bounds, named["max_length_q"], scaling, sliding_window), None
    parts = [
        _one_sequence(
            query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scaling, sliding_window
        )
        for start, end in pairwise(bounds.tolist())
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """All sequences in one kernel, which skips what lies outside of them."""
    from torch.nn.attention.varlen import varlen_attn  # CUDA only

    attended = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(window - 1 if window else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended[None]


def _one_sequence(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    own = query.shape[2]
    # To a round length, by tokens that come after all others and which none of them sees.
    query, key, value = (F.pad(each, (0, 0, 0, -own % SHAPE_STEP)) for each in (query, key, value))
    length = query.shape[2]
    if window is None or length <= window:
        attended = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        return attended[:, :, :own]
    blocks = []
    for start in range(0, length, WINDOW_BLOCK):
        end = min(start + WINDOW_BLOCK, length)
        first = max(0, start - window + 1)
        places = torch.arange(first, end, device=query.device)
        distance = places[start - first :, None] - places[None, :]
        blocks.append(
            F.scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, first:end],
                value[:, :, first:end],
                attn_mask=(distance >= 0) & (distance < window),
                scale=scaling,
                enable_gqa=grouped,
            )
        )
    return torch.cat(blocks, dim=2)[:, :, :own]

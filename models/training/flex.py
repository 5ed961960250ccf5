"""The same attention over trees by one compiled kernel that skips what nobody sees: torch's flex attention, on CUDA.

On other devices, and where it does not compile, scaled_dot_product_attention does the work piece by piece.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Seen = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # batch, head, query and key index to whether it is seen


def sees(asking: Tensor, until: Tensor, depth: Tensor, window: int | None) -> Seen:
    """Of the queries at the places `asking` [Q] in a row [T]; with a sliding `window` only less than that far up the branch."""

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        place = asking[query]
        below = (key <= place) & (place < until[key])
        return below if window is None else below & (depth[place] - depth[key] < window)

    return seen


def block_mask(seen: Seen, queries: int, keys: int, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(seen, None, None, queries, keys, device=device)


def flex(query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float | None, softcap: float | None) -> Tensor:
    """query [1, H, Q, D], key and value [1, H / groups, T, D] to [1, H, Q, D]."""
    cap = None
    if softcap is not None:
        top = softcap

        def cap(score: Tensor, *_: Tensor) -> Tensor:
            return torch.tanh(score / top) * top

    grouped = query.shape[1] != key.shape[1]
    return _compiled()(query, key, value, score_mod=cap, block_mask=mask, scale=scaling, enable_gqa=grouped)


@cache
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


@cache
def works(device: str) -> bool:
    """Whether flex attention compiles here, forward and backward; tried once, on a tree of its own."""
    if device != "cuda":
        return False
    try:
        q, k, v = (torch.randn(1, heads, 256, 64, device=device, requires_grad=True) for heads in (4, 2, 2))
        until = torch.full((256,), 256, device=device)
        places = torch.arange(256, device=device)
        flex(q, k, v, block_mask(sees(places, until, places, None), 256, 256, q.device), None, None).sum().backward()
    except Exception as error:  # whatever a compiler may say: the other kernel gives the same numbers
        log.warning("flex attention does not work here (%s): scaled_dot_product_attention instead", error)
        return False
    return True

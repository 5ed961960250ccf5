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
    import torch._dynamo
    from torch.nn.attention.flex_attention import flex_attention

    # Compiled anew for full and narrowed rows, with and without gradients, masks with and without a window, and row lengths as
    # they turn out to vary: ten times or so. After eight torch would give up, and hold every score of a row in memory.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(flex_attention)


@cache
def works(device: str, dtype: torch.dtype, heads: int, groups: int, width: int) -> bool:
    """Whether flex attention compiles here for so many heads of queries and of keys, forward and backward; tried once. Wide
    heads, in float32 above all, do not fit every GPU's shared memory."""
    return device == "cuda" and _runs(device, dtype, heads, groups, width)


def _runs(device: str, dtype: torch.dtype, heads: int, groups: int, width: int) -> bool:
    """Tried on a tree of its own, whatever the caller has switched off or on."""
    try:
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            q, k, v = (
                torch.randn(1, n, 256, width, device=device, dtype=dtype, requires_grad=True) for n in (heads, groups, groups)
            )
            until = torch.full((256,), 256, device=device)
            places = torch.arange(256, device=device)
            flex(q, k, v, block_mask(sees(places, until, places, None), 256, 256, q.device), None, None).sum().backward()
    except Exception as error:  # whatever a compiler may say: the other kernel gives the same numbers
        log.warning("flex attention does not work here (%s): scaled_dot_product_attention instead", error)
        return False
    return True

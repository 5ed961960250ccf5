"""Attention over rows of prefix trees, as an attention function of transformers' own registry.

`install` names it in a model's config; from then on `model.base_model(..., tree=layout)` attends within trees, and a call without
`tree` is the model's ordinary sdpa attention. Each block of trees is one call of scaled_dot_product_attention with its own mask,
so that the row as a whole has neither padding nor a mask of its full length. Masks are additive and made once for all layers.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from models.training.tree import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "plumbline_tree"
BLOCK = 256  # tokens: trees are put into one mask up to this length


class Layout:
    """A row as tensors: ids and depth [1, T], and the masks of its blocks, made when a layer first asks."""

    def __init__(self, row: Row, device: torch.device) -> None:
        def tensor(values: list[int]) -> Tensor:
            return torch.tensor(values, device=device)

        self.blocks = row.blocks
        self.ids = tensor([i for t in row.trees for i in t.ids])[None]
        self.depth = tensor([d for t in row.trees for d in t.depth])[None]
        self._until = tensor([u + s for t, s in zip(row.trees, row.starts, strict=True) for u in t.until])
        self._masks: dict[tuple[int | None, torch.dtype], list[Tensor]] = {}

    def masks(self, window: int | None, dtype: torch.dtype) -> list[Tensor]:
        """Of each block, additive [L, L]; with a sliding `window` only tokens less than that far up the branch are visible."""
        if (window, dtype) not in self._masks:
            made, start = [], 0
            for size in self.blocks:
                at = torch.arange(start, start + size, device=self._until.device)
                seen = (at <= at[:, None]) & (at[:, None] < self._until[at])
                if window is not None:
                    depth = self.depth[0, at]
                    seen &= depth[:, None] - depth < window
                made.append(torch.zeros(size, size, dtype=dtype, device=at.device).masked_fill_(~seen, -torch.inf))
                start += size
            self._masks[window, dtype] = made
        return self._masks[window, dtype]


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    tree: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The registry's interface: query [1, H, T, D], key and value [1, H / groups, T, D] to [1, T, H, D]."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    groups = getattr(module, "num_key_value_groups", 1)
    if tree is None and softcap is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if groups > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if tree is None:
        size = query.shape[2]
        masks, blocks = [_causal(size, sliding_window, query) if attention_mask is None else attention_mask], [size]
    else:
        masks, blocks = tree.masks(sliding_window, query.dtype), tree.blocks
    # split and not slices: the gradient of a slice is as long as the whole row
    parts = zip(query.split(blocks, 2), key.split(blocks, 2), value.split(blocks, 2), masks, strict=True)
    out = [_attend(q, k, v, mask, scaling, softcap).transpose(1, 2) for q, k, v, mask in parts]
    return torch.cat(out, 1), None


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float | None, softcap: float | None) -> Tensor:
    if softcap is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    scores = q @ k.transpose(2, 3) * (scaling if scaling is not None else q.shape[-1] ** -0.5)
    scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v


def _causal(size: int, window: int | None, like: Tensor) -> Tensor:
    seen = torch.ones(size, size, dtype=torch.bool, device=like.device).tril()
    return seen if window is None else seen.triu(1 - window)


def install(model: "PreTrainedModel") -> None:
    """Let `model` attend over trees. Without effect if it does already."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config.get_text_config()._attn_implementation != NAME:
        AttentionInterface.register(NAME, tree_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)

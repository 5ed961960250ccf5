"""Attention over rows of prefix trees, as an attention function of transformers' own registry.

`install` names it in a model's config; from then on `decoder(model)(..., tree=layout)` attends within trees, and a call without
`tree` is the model's ordinary sdpa attention. Each piece of the row is one call of scaled_dot_product_attention on the pieces it
sees, so that the row as a whole has neither padding nor a mask of its full length. Masks are additive and made once for all
layers. On CUDA one flex attention call does the whole row, by a block mask (flex.py).

Of the last layer only the outputs that predict a token are ever used: there, queries, output projection and MLP skip all others.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from models.training import flex
from models.training.tree import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "plumbline_tree"
BLOCK = 256  # tokens: trees are put into one mask up to this length
TWIG = 32  # tokens: what is smaller is not cut off its tree
TOKENWISE = ("self_attn.q_proj", "self_attn.o_proj", "mlp")  # parts of a layer that know one token at a time


class Layout:
    """A row as tensors: ids and depth [1, T], the places `used` whose last hidden states somebody asks for [U] (None: all of
    them), and the masks of its pieces, made when a layer first asks."""

    def __init__(self, row: Row, device: torch.device, used: list[int] | None = None) -> None:
        def tensor(values: list[int]) -> Tensor:
            return torch.tensor(values, device=device)

        self.pieces, self.keys = row.pieces, row.keys
        self.ids = tensor([i for t in row.trees for i in t.ids])[None]
        self.depth = tensor([d for t in row.trees for d in t.depth])[None]
        self.used = None if used is None or len(used) == self.ids.shape[1] else tensor(used)
        self._until = tensor([u + s for t, s in zip(row.trees, row.starts, strict=True) for u in t.until])
        everywhere = torch.arange(self.ids.shape[1], device=device)
        self._queries = {False: everywhere.split(row.pieces)}
        if self.used is not None:
            ends = torch.tensor(row.pieces).cumsum(0)
            counts = torch.searchsorted(self.used.cpu(), ends).diff(prepend=torch.zeros(1, dtype=torch.long)).tolist()
            self._queries[True] = self.used.split(counts)
        self._masks: dict[tuple[bool, int | None, torch.dtype], list[Tensor]] = {}
        self._block_masks: dict[tuple[bool, int | None], Any] = {}

    def queries(self, last: bool) -> list[int]:
        """Of each piece, how many of its tokens ask."""
        return [len(part) for part in self._queries[last]]

    def block_mask(self, last: bool, window: int | None) -> Any:
        """The same for the whole row at once, as flex attention wants it."""
        if (last, window) not in self._block_masks:
            asking = torch.cat(self._queries[last])
            seen = flex.sees(asking, self._until, self.depth[0], window)
            self._block_masks[last, window] = flex.block_mask(seen, len(asking), self.ids.shape[1], asking.device)
        return self._block_masks[last, window]

    def masks(self, last: bool, window: int | None, dtype: torch.dtype) -> list[Tensor]:
        """Of each piece, additive [queries, keys]; with a sliding `window` only less than that far up the branch is seen."""
        if (last, window, dtype) not in self._masks:
            parts, made = self._queries[False], []
            for asking, keys in zip(self._queries[last], self.keys, strict=True):
                at = torch.cat([parts[i] for i in keys])
                seen = (at <= asking[:, None]) & (asking[:, None] < self._until[at])
                if window is not None:
                    depth = self.depth[0]
                    seen &= depth[asking][:, None] - depth[at] < window
                made.append(torch.zeros(seen.shape, dtype=dtype, device=at.device).masked_fill_(~seen, -torch.inf))
            self._masks[last, window, dtype] = made
        return self._masks[last, window, dtype]


def tree_attention(
    module: nn.Module,
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

    tree = tree or _running.get("tree")  # some layers (StableLM's, Nemotron's) do not hand on what they are told
    groups = getattr(module, "num_key_value_groups", 1)
    if tree is None and softcap is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    last = tree is not None and tree.used is not None and _running.get("last", False)
    if tree is not None and flex.works(query.device.type, _lowered(query), query.shape[1], key.shape[1], query.shape[3]):
        asking = query[:, :, tree.used] if last else query
        found = flex.flex(asking, key, value, tree.block_mask(last, sliding_window), scaling, softcap).transpose(1, 2)
        return _spread(found, tree) if last else found, None
    if groups > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if tree is None:
        mask = _causal(query.shape[2], sliding_window, query) if attention_mask is None else attention_mask
        return _attend(query, key, value, mask, scaling, softcap).transpose(1, 2), None
    asking = query[:, :, tree.used] if last else query
    # split and not slices: the gradient of a slice is as long as the whole row
    keys, values, out = key.split(tree.pieces, 2), value.split(tree.pieces, 2), []
    masks = tree.masks(last, sliding_window, query.dtype)
    for q, seen, mask in zip(asking.split(tree.queries(last), 2), tree.keys, masks, strict=True):
        if q.shape[2]:
            out.append(_attend(q, _join(keys, seen), _join(values, seen), mask, scaling, softcap).transpose(1, 2))
    found = torch.cat(out, 1)
    return _spread(found, tree) if last else found, None


def kernel(model: "PreTrainedModel", device: torch.device, dtype: torch.dtype) -> str:
    """What computes the attention of `model` on `device`."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    groups, width = getattr(config, "num_key_value_heads", None), getattr(config, "head_dim", None)
    works = flex.works(device.type, dtype, heads, groups or heads, width or config.hidden_size // heads)
    return "flex" if works else "sdpa"


def _lowered(values: Tensor) -> torch.dtype:
    """The precision in which attention is computed: autocast's, where it is on."""
    kind = values.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype


def _join(parts: tuple[Tensor, ...], seen: list[int]) -> Tensor:
    return parts[seen[0]] if len(seen) == 1 else torch.cat([parts[i] for i in seen], 2)


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


def decoder(model: "PreTrainedModel") -> nn.Module:
    """The part between token ids and the vocabulary head; of a model that sees pictures, too, the one that reads text."""
    return model.get_decoder()


def install(model: "PreTrainedModel") -> None:
    """Let `model` attend over trees. Without effect if it does already."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config.get_text_config()._attn_implementation != NAME:
        AttentionInterface.register(NAME, tree_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
        _mark_layers(model)


# While a layer runs: its layout, and whether it is the last. Set on entry, so that activations computed again in a backward pass
# find theirs.
_running: dict[str, Any] = {}


def _mark_layers(model: "PreTrainedModel") -> None:
    """Let the token-wise parts of the last layer work on the places in `used` alone; elsewhere their outputs are zero.

    By hooks, which travel with a module when it is copied or wrapped. A layer with other parts is left as it is.
    """
    layers = getattr(decoder(model), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        return
    for layer in layers:
        layer.register_forward_pre_hook(partial(_enter, last=layer is layers[-1]), with_kwargs=True)
        layer.register_forward_hook(_leave, always_call=True)
    parts = dict(layers[-1].named_modules())
    for name in TOKENWISE:
        if name in parts:
            parts[name].register_forward_pre_hook(_take_used)
            parts[name].register_forward_hook(_put_back)


def _enter(module: nn.Module, args: Any, kwargs: dict[str, Any], last: bool) -> None:
    _running.update(tree=kwargs.get("tree"), last=last)


def _leave(module: nn.Module, args: Any, output: Any) -> None:
    _running.clear()


def _take_used(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    tree = _running.get("tree")
    if tree is None or not _running["last"] or tree.used is None or args[0].shape[1] != tree.ids.shape[1]:
        return None  # the last: an adapter around this module has done it
    module.__dict__["_narrowed_to"] = tree
    return (args[0][:, tree.used], *args[1:])


def _put_back(module: nn.Module, args: Any, output: Any) -> Any:
    tree = module.__dict__.pop("_narrowed_to", None)
    if tree is None:
        return None
    return (_spread(output[0], tree), *output[1:]) if isinstance(output, tuple) else _spread(output, tree)


def _spread(values: Tensor, tree: Layout) -> Tensor:
    """[1, U, …] at its places in [1, T, …], zero elsewhere."""
    return values.new_zeros(1, tree.ids.shape[1], *values.shape[2:]).index_copy(1, tree.used, values)

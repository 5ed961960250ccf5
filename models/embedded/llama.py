"""A lean Llama for training and measuring on a CPU, with the very state dict of transformers' LlamaForCausalLM.

Nothing is renamed, fused or transposed on export, so it differs from transformers and vLLM in the order of sums
only. The head is untied: where vLLM's CPU engine swaps the weights of a tied head, it silently keeps the old one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Cache = list[tuple[Tensor, Tensor]]  # keys and values per layer, each [batch, heads, positions, head size]

EPS, ROPE_BASE, MAX_POSITIONS = 1e-6, 10000.0, 2048


@dataclass(frozen=True)
class Shape:
    vocab: int
    width: int = 128
    layers: int = 4
    inner: int = 384
    heads: int = 4


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, EPS)


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(shape.width, shape.width, bias=False))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple]:
        batch, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, length, self.heads, -1).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        # a single new position may look at everything; several start from an empty cache
        y = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, width)), (k, v)


class MLP(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.self_attn, self.mlp = Attention(shape), MLP(shape)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(shape.width), RMSNorm(shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple]:
        y, present = self.self_attn(self.input_layernorm(x), cos, sin, past)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Body(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width)


class Llama(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        self.lm_head = nn.Linear(shape.width, shape.vocab, bias=False)
        size = shape.width // shape.heads
        angles = torch.outer(torch.arange(MAX_POSITIONS), ROPE_BASE ** -(torch.arange(0, size, 2) / size))
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, p in self.named_parameters():
            if name == "model.embed_tokens.weight":
                nn.init.normal_(p, std=0.05)
            elif name.endswith(("lm_head.weight", "o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(p)  # every layer starts as the identity, every token equally likely
            elif p.dim() == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Last hidden states [batch, length, width]; `cache` is read and extended in place."""
        start = cache[0][0].shape[2] if cache else 0
        cos, sin = (table[start : start + ids.shape[1]] for table in (self.cos, self.sin))
        x = self.model.embed_tokens(ids)
        for i, layer in enumerate(self.model.layers):
            x, present = layer(x, cos, sin, cache[i] if cache and start else None)
            if cache is not None:
                cache[i : i + 1] = [present]
        return self.model.norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        return self.lm_head(self.hidden(ids))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin

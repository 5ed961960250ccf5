"""A preference model: a causal language model whose last hidden state of an answer is projected to a reward or an embedding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = Sequence[int]


class PreferenceModel(nn.Module):
    """`kind` bt: v is a scalar and S(i > j) = v_i - v_j (Bradley and Terry 1952).

    `kind` gpm: v in R^2k of unit length and S(i > j) = sum over blocks of v_i^T [[0, 1], [-1, 0]] v_j / temperature (general
    preference model, arXiv 2410.02197, section 4). In both P(i beats j) = sigmoid(S), and S(j > i) = -S(i > j) by construction.
    """

    def __init__(self, model: "PreTrainedModel", kind: str, blocks: int, temperature: float) -> None:
        super().__init__()
        self.model, self.kind, self.blocks, self.temperature = model, kind, blocks, temperature
        width = model.config.get_text_config().hidden_size
        self.head = nn.Linear(width, 1 if kind == "bt" else 2 * blocks, bias=False)
        nn.init.normal_(self.head.weight, std=width**-0.5)
        self.head.to(next(model.parameters()).device)

    def forward(self, sequences: Sequence[Ids]) -> Tensor:
        """Rewards [N, 1] or unit embeddings [N, 2k], float32, of N prompts with their answers, read at the last token."""
        device = self.head.weight.device
        longest = max(map(len, sequences))
        ids = torch.tensor([[*s, *[0] * (longest - len(s))] for s in sequences], device=device)
        lengths = torch.tensor([len(s) for s in sequences], device=device)
        mask = torch.arange(longest, device=device)[None] < lengths[:, None]
        hidden = self.model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
        last = self.head(hidden[torch.arange(len(sequences), device=device), lengths - 1].float())
        return last if self.kind == "bt" else nn.functional.normalize(last, dim=-1)

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        """S(first > second) [N] in nats from what `forward` gave for each."""
        if self.kind == "bt":
            return (first - second).squeeze(-1)
        a, b = first.unflatten(-1, (self.blocks, 2)), second.unflatten(-1, (self.blocks, 2))
        return (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(-1) / self.temperature


def embed(model: PreferenceModel, sequences: Sequence[Ids], tokens: int = 8192) -> Tensor:
    """`forward` of any number of sequences without gradient, on the CPU, in batches of at most `tokens` padded tokens."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    rows: list[Tensor] = [torch.empty(0)] * len(sequences)
    batch: list[int] = []
    with torch.inference_mode():
        for place, i in enumerate(order):
            batch.append(i)
            last = place + 1 == len(order)
            if last or (len(batch) + 1) * len(sequences[order[place + 1]]) > tokens:
                for j, row in zip(batch, model([sequences[j] for j in batch]).cpu(), strict=True):
                    rows[j] = row
                batch = []
    return torch.stack(rows)

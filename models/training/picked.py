"""The vocabulary head's log-probabilities on plain linear heads in float32, forward and backward by hand."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHE = 1 << 20  # numbers: 4 MB


class Picked(torch.autograd.Function):
    """log softmax(hidden W^T)[target] of each row, [M], and the logarithm of the softmax's divisor, [M], which has no gradient.

    hidden [M, width], W [V, width], their product logits [M, V], targets [M].
    The same numbers as by torch's own operators, with fewer passes over [M, V]: few rows at a time, which a cache holds, and the
    softmax is written over the logits. Rows whose slope is exactly zero cost nothing: what a pair's answers share cancels in an
    objective on their difference.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.cat([rows.logsumexp(-1) for rows in _few(logits)])
        ctx.save_for_backward(hidden, weight, logits, targets, total)
        ctx.mark_non_differentiable(total)
        return logits.gather(-1, targets[:, None]).squeeze(-1) - total, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, weight, logits, targets, total = ctx.saved_tensors
        taken = slope.nonzero().squeeze(1)
        if len(taken) < len(slope):
            slope, logits, targets, total = slope[taken], logits[taken], targets[taken], total[taken]
        for rows, own, by in zip(_few(logits), total.split(len(_few(logits)[0])), slope.split(len(_few(logits)[0])), strict=True):
            rows.sub_(own[:, None]).exp_().mul_(-by[:, None])
        logits.scatter_add_(-1, targets[:, None], slope[:, None])
        by_hidden = by_weight = None
        if ctx.needs_input_grad[0]:
            by_hidden = torch.zeros_like(hidden).index_copy_(0, taken, logits @ weight)
        if ctx.needs_input_grad[1]:
            by_weight = logits.t() @ hidden[taken]
        return by_hidden, by_weight, None, None


def _few(values: Tensor) -> tuple[Tensor, ...]:
    """[M, V] by rows: on a CPU as many at a time as its cache holds, on a GPU all at once."""
    return values.split(max(1, CACHE // values.shape[1]) if values.device.type == "cpu" else max(1, len(values)))

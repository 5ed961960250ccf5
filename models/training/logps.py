"""Log-probabilities of whole answers, the one forward pass that training, reference and ranking share.

The vocabulary head is applied to the positions that predict an answer token and to no others, in chunks, and what leaves it is
one number a token: full-vocabulary log-probabilities are never stored. To share the prompt and the common beginning of two
answers, replace `completion_logps`; nothing else knows how sequences are laid out.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from data_contracts.errors import PlumblineError
from models.training.data import Example, Ids, micro_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_AT_ONCE = 1 << 26  # 256 MB in float32
SHORTEST = 0.75  # of a forward's longest sequence: less padding, a tenth less CPU time than one forward for all (measured)


def completion_logps(model: "PreTrainedModel", examples: Sequence[Example]) -> Tensor:
    """Summed log-probability [B, K] in nats, float32, of each example's K answers after its prompt.

    Prompt and answer are joined as ids; sequences of about the same length share a forward.
    """
    sequences = [(e.prompt, answer) for e in examples for answer in e.answers]
    lengths = [len(prompt) + len(answer) for prompt, answer in sequences]
    parts: list[list[int]] = []
    for i in sorted(range(len(sequences)), key=lambda i: (-lengths[i], i)):
        if not parts or lengths[i] < SHORTEST * lengths[parts[-1][0]]:
            parts.append([])
        parts[-1].append(i)
    sums = torch.cat([_forward(model, [sequences[i] for i in part]) for part in parts])
    back = torch.tensor([i for part in parts for i in part]).argsort().to(sums.device)
    return sums[back].view(len(examples), -1)


def _forward(model: "PreTrainedModel", sequences: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Summed log-probabilities [N] of answers after their prompts.

    Padding is on the right, where causal attention never reaches it from a real token, so no mask is needed and sdpa takes its
    fast causal path.
    """
    width = max(len(prompt) + len(answer) for prompt, answer in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    before: list[int] = []  # flat positions whose output predicts an answer token
    for row, (prompt, answer) in enumerate(sequences):
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        start = row * width + len(prompt) - 1
        before += range(start, start + len(answer))
    at, ids = torch.tensor(before, device=model.device), ids.to(model.device)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)[at]
    values = _token_logps(model, hidden, ids.flatten()[at + 1])
    # unlike index_add, repeatable on a GPU
    return values.new_zeros(ids.numel()).index_put((at,), values).view_as(ids).sum(-1)


def _token_logps(model: "PreTrainedModel", hidden: Tensor, targets: Tensor) -> Tensor:
    """log p(target) [M] from the last hidden states [M, width]."""
    head = model.get_output_embeddings()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)

    def part(hidden: Tensor, targets: Tensor) -> Tensor:
        logits = head(hidden).float()
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits.gather(-1, targets[:, None]).squeeze(-1) - logits.logsumexp(-1)

    size = max(1, LOGITS_AT_ONCE // model.config.get_text_config().vocab_size)
    if len(targets) <= size:
        return part(hidden, targets)
    # each chunk's logits are computed again in the backward pass, so that only one chunk's exist at any time
    chunks = zip(hidden.split(size), targets.split(size), strict=True)
    return torch.cat([checkpoint(part, h, t, use_reentrant=False) for h, t in chunks])


@torch.no_grad()
def all_logps(
    model: "PreTrainedModel",
    examples: Sequence[Example],
    tokens: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """`completion_logps` of any number of examples, [N, K] on the CPU, in micro batches; NaN would mean not computed."""
    result = torch.full((len(examples), len(examples[0].answers)), float("nan"))
    done = 0
    for part in micro_batches(examples, range(len(examples)), tokens):
        result[part] = completion_logps(model, [examples[i] for i in part]).cpu()
        done += len(part)
        progress(done, len(examples))
    return result


@torch.no_grad()
def verify_head(model: "PreTrainedModel", example: Example, tolerance: float) -> None:
    """Compare with the model's own one-sequence forward: some architectures scale their logits in ways of their own.

    Raises PlumblineError if the mean log-probability of a token differs by more than `tolerance` nats.
    """
    mine = completion_logps(model, [example])[0].cpu()
    for k, answer in enumerate(example.answers):
        ids = torch.tensor([[*example.prompt, *answer]], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(example.prompt) - 1 : -1].float()
        plain = logits.log_softmax(-1).gather(-1, torch.tensor(answer, device=model.device)[:, None]).sum().item()
        if not abs(plain - mine[k].item()) <= tolerance * len(answer):
            raise PlumblineError(
                f"the trainer gives pair {example.id!r} a log-probability of {mine[k].item():.4f}, {type(model).__name__} itself "
                f"{plain:.4f} nats: this architecture treats its logits in a way that models/training/logps.py does not know"
            )

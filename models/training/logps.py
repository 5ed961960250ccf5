"""Log-probabilities of whole answers, the one forward pass that training, reference and ranking share.

The vocabulary head is applied to the positions that predict an answer token and to no others, in chunks, and what leaves it is
one number a token: full-vocabulary log-probabilities are never stored. Prompt and answers are laid out as prefix trees here and
nowhere else; whoever calls sees sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from data_contracts.errors import PlumblineError
from models.training import team
from models.training.attention import BLOCK, TWIG, Layout, decoder, install
from models.training.data import Example, Ids
from models.training.picked import Picked
from models.training.progress import Progress, silent
from models.training.tree import Row, lay, plant

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_AT_ONCE = 1 << 26  # 256 MB in float32


@dataclass(frozen=True)
class Logps:
    """Log-probabilities in nats, float32, of B examples with K answers of at most T tokens."""

    total: Tensor  # [B, K] of whole answers
    token: Tensor  # [B, K, T] of each token, 0 beyond an answer's end
    mask: Tensor  # [B, K, T] where there is a token
    overlap: Tensor | None = None  # [B, K] sum over tokens of log sum_v p(v)^2 (WPO, arXiv 2406.11827, section 3.2); detached


def completion_logps(model: "PreTrainedModel", examples: Sequence[Example]) -> Tensor:
    """Summed log-probability [B, K] in nats, float32, of each example's K answers after its prompt."""
    return tree_logps(model, examples).total


def tree_logps(model: "PreTrainedModel", examples: Sequence[Example], overlap: bool = False) -> Logps:
    """One forward over the examples' prefix trees: each token of a tree is computed, and each answer token predicted, once.

    All examples have the same number of answers. With `overlap` the policy's self-overlap is measured on the way. A model that
    several processes train together is called through its door.
    """
    door = team.door(model)
    return run(model, examples, overlap) if door is None else Logps(*door(examples, overlap))


def run(model: "PreTrainedModel", examples: Sequence[Example], overlap: bool) -> Logps:
    """`tree_logps` behind the door."""
    row = lay([plant(e) for e in examples], BLOCK, TWIG)
    used = {start + place for tree, start in zip(row.trees, row.starts, strict=True) for place in tree.parent[tree.prompt :]}
    layout, hidden = _hidden(model, row, sorted(used))
    before: list[int] = []  # of each answer token in the row: the place whose output predicts it
    behind: list[int] = []  # and its own place
    paths: list[Ids] = []  # of each answer: its tokens' places in `behind`
    for tree, start in zip(row.trees, row.starts, strict=True):
        shift = len(behind) - tree.prompt
        paths += [[place + shift for place in path] for path in tree.paths]
        before += [start + place for place in tree.parent[tree.prompt :]]
        behind += range(start + tree.prompt, start + len(tree.ids))
    at = torch.tensor(before, device=model.device)
    values = _token_logps(model, hidden[at], layout.ids[0, torch.tensor(behind, device=model.device)], overlap)
    width = max(map(len, paths))
    padded = torch.tensor([path + [len(behind)] * (width - len(path)) for path in paths], device=model.device)
    spread = torch.cat([values, values.new_zeros(1, values.shape[1])])[padded].unflatten(0, (len(examples), -1))
    mask = (padded < len(behind)).unflatten(0, (len(examples), -1))
    return Logps(spread[..., 0].sum(-1), spread[..., 0], mask, spread[..., 1].sum(-1) if overlap else None)


def _hidden(model: "PreTrainedModel", row: Row, used: Ids | None = None) -> tuple[Layout, Tensor]:
    """The row's layout and the last hidden states of its tokens [T, width]; true only at the places `used`, if given."""
    install(model)
    layout = Layout(row, model.device, used)
    # a mask of four dimensions keeps transformers from making one of the row's full length; the layout brings its own
    found = decoder(model)(
        input_ids=layout.ids,
        attention_mask=layout.ids.new_ones(1, 1, 1, 1, dtype=torch.bool),
        position_ids=layout.depth,
        use_cache=False,
        tree=layout,
    )
    return layout, found.last_hidden_state[0]


@torch.no_grad()
def prompt_embeddings(model: "PreTrainedModel", examples: Sequence[Example], tokens: int) -> Tensor:
    """Mean of the last hidden states over each prompt's tokens, [N, width] in float32 on the CPU. A team shares the work."""
    prompts, door = [Example(e.id, e.prompt, ()) for e in examples], team.door(model)
    means = torch.zeros(len(prompts), model.config.get_text_config().hidden_size)
    parts, own = team.share(prompts, range(len(prompts)), tokens)
    for number, part in enumerate(parts):
        some = [prompts[i] for i in part]
        found = mean_states(model, some) if door is None else door(some, prompts=True)[0]
        if number < own:
            means[part] = found.cpu()
    return team.total(means)


def without_common(embeddings: Tensor) -> Tensor:
    """`embeddings` [N, width] less their mean.

    A language model's hidden states share one large direction, beside which all prompts look alike: cosines near 1, whatever the
    prompts say (all-but-the-top, arXiv 1702.01417).
    """
    return embeddings - embeddings.mean(0)


def mean_states(model: "PreTrainedModel", prompts: Sequence[Example]) -> Tensor:
    """`prompt_embeddings` behind the door, of one micro batch: [B, width]."""
    row = lay([plant(e) for e in prompts], BLOCK, TWIG)
    _, hidden = _hidden(model, row)
    return torch.stack([states.mean(0) for states in hidden.float().split([len(t.ids) for t in row.trees])])


def _token_logps(model: "PreTrainedModel", hidden: Tensor, targets: Tensor, overlap: bool) -> Tensor:
    """log p(target) and, with `overlap`, log sum_v p(v)^2, [M, 1 or 2], from the last hidden states [M, width]."""
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma's
    scale = (getattr(config, "logit_scale", None) or 1.0) / getattr(config, "logits_scaling", 1.0)  # Cohere's, Granite's

    plain = type(head) is nn.Linear and head.bias is None and head.weight.dtype == hidden.dtype == torch.float32
    plain = plain and cap is None and scale == 1.0

    def part(hidden: Tensor, targets: Tensor) -> Tensor:
        if plain and not torch.is_autocast_enabled(hidden.device.type):
            with torch.no_grad():
                logits = head(hidden)
            logp, total = Picked.apply(hidden, head.weight, logits, targets)
        else:
            logits = head(hidden).float() * scale
            if cap is not None:
                logits = torch.tanh(logits / cap) * cap
            total = logits.logsumexp(-1)
            logp = logits.gather(-1, targets[:, None]).squeeze(-1) - total
        if not overlap:
            return logp[:, None]
        with torch.no_grad():
            squares = (2 * logits).logsumexp(-1) - 2 * total
        return torch.stack([logp, squares], -1)

    size = max(1, LOGITS_AT_ONCE // model.config.get_text_config().vocab_size)
    if len(targets) <= size:
        return part(hidden, targets)
    # each chunk's logits are computed again in the backward pass, so that only one chunk's exist at any time
    chunks = zip(hidden.split(size), targets.split(size), strict=True)
    return torch.cat([checkpoint(part, h, t, use_reentrant=False) for h, t in chunks])


def all_logps(
    model: "PreTrainedModel",
    examples: Sequence[Example],
    tokens: int,
    progress: Progress = silent,
) -> Tensor:
    """`completion_logps` of any number of examples, [N, K] on the CPU, in micro batches; NaN would mean not computed."""
    return all_tree_logps(model, examples, tokens, progress)[0]


@torch.no_grad()
def all_tree_logps(
    model: "PreTrainedModel",
    examples: Sequence[Example],
    tokens: int,
    progress: Progress = silent,
) -> tuple[Tensor, list[Tensor]]:
    """Sums [N, K] as `all_logps` has them, and of each example the log-probabilities of its tokens [K, T], 0 beyond an end."""
    total, seen = torch.zeros(len(examples), len(examples[0].answers)), torch.zeros(len(examples))
    widths = [max(e.lengths) for e in examples]
    by_token = torch.zeros(sum(widths) * total.shape[1]).split([width * total.shape[1] for width in widths])
    parts, own = team.share(examples, range(len(examples)), tokens)
    for number, part in enumerate(parts):
        found = tree_logps(model, [examples[i] for i in part])
        if number >= own:
            continue
        total[part], seen[part] = found.total.cpu(), 1.0
        for i, values in zip(part, found.token.cpu(), strict=True):
            by_token[i].copy_(values[:, : widths[i]].flatten())
        progress(min(len(examples), team.size() * int(seen.sum())), len(examples))
    if team.size() > 1:
        total, seen = team.total(total), team.total(seen)
        by_token = team.total(torch.cat(by_token)).split([len(values) for values in by_token])
    total[seen != 1] = float("nan")
    return total, [values.unflatten(0, (total.shape[1], -1)) for values in by_token]


def spread(tokens: float) -> float:
    """How often the tolerance of one token a sum over so many may be off: what rounding does to one is chance, and of few tokens
    it does not average out. Four deviations, since many sums are looked at."""
    return tokens + 4 * tokens**0.5


@torch.no_grad()
def verify(model: "PreTrainedModel", examples: Sequence[Example], tolerance: float) -> None:
    """Compare with the model's own forward of each sequence by itself: some architectures treat their logits in ways of their
    own, and some mix neighbours by recurrence, convolution or an attention of their own. The attention of that forward is the one
    `model` was loaded with, if this is the first that is asked of it.

    Raises PlumblineError if the log-probabilities of an answer's tokens differ by more than `tolerance` nats each (`spread`).
    """
    alone = [[_alone(model, example, k) for k in range(len(example.answers))] for example in examples]
    together = completion_logps(model, examples).tolist()
    for example, own, mine in zip(examples, alone, together, strict=True):
        for answer, plain, found in zip(example.answers, own, mine, strict=True):
            if not abs(plain - found) <= tolerance * spread(len(answer)):
                raise PlumblineError(
                    f"{type(model).__name__} cannot be trained here: in a row with others an answer gets another log-probability "
                    f"than by itself ({example.id!r}: {found:.4f} and {plain:.4f} nats); docs/models.md says what can be trained"
                )


def _alone(model: "PreTrainedModel", example: Example, k: int) -> float:
    """The log-probability of answer `k`, 0 where there is none, by a plain forward."""
    answer = example.answers[k]
    own = answer[example.skip[k] if example.skip else 0 :]
    if not answer:
        return 0.0
    ids = torch.tensor([[*example.prompt, *answer]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, -1 - len(own) : -1].float()
    return logits.log_softmax(-1).gather(-1, torch.tensor(own, device=model.device)[:, None]).sum().item()

"""The objectives as a table and as plots. Reading the table imports neither torch nor matplotlib."""

from collections.abc import Sequence
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_align import AlignConfig
from data_contracts.config_elsewhere import objectives_like
from data_contracts.errors import PlumblineError
from data_contracts.objective_config import CONFIGS
from models.objectives import REGISTRY, build_objective
from models.objectives.batch import Answers, Batch, Need, Objective, State
from models.objectives.list_registry import LISTS
from models.objectives.one_sided import alone
from models.objectives.serving import served_by, takes_lists

if TYPE_CHECKING:
    from torch import Tensor


# what the formulas of the objectives on pairs and labels call things; those on lists say it themselves
SYMBOLS = (
    "w the chosen answer, l the rejected one; log pi and log ref sums over an answer's n tokens; "
    "r = log pi - log ref, h = r_w - r_l, m = log pi / n; s the logistic function"
)


def rows() -> list[dict[str, Any]]:
    """One row an objective: name, summary, needs (names), reference, data (pairs or lists), alone (the sides of a pair that it
    takes by themselves), served_by (pair methods), on_policy, paper, reconstructed, defaults."""
    return [_row(name) for name in REGISTRY]


def describe(name: str) -> dict[str, Any]:
    """The row of `name`, and under "text" what its docstring says after the summary: formula, when to use it, when not; under
    "symbols" what the formula calls things, where it does not say so itself.

    Raises PlumblineError for a name that is not registered.
    """
    if name not in REGISTRY:
        near = objectives_like(name, REGISTRY)
        raise PlumblineError(f"there is no objective {name!r}{near and f', perhaps {near}'}: `plumbline objectives` lists all")
    text = cleandoc(REGISTRY[name].__doc__ or "").partition("\n\n")[2]
    return _row(name) | {"text": text, "symbols": None if name in LISTS else SYMBOLS}


def _row(name: str) -> dict[str, Any]:
    objective = REGISTRY[name]
    return {
        "name": name,
        "summary": " ".join(cleandoc(objective.__doc__ or "").partition("\n\n")[0].split()),
        "needs": [need.name.lower() for need in objective.needs if need.name],
        "reference": Need.REFERENCE in objective.needs,
        "data": "lists" if takes_lists(objective.needs) else "pairs",
        "alone": list(alone(AlignConfig(objective=default_config(name)))),
        "served_by": served_by(objective),
        "on_policy": objective.spec.on_policy,
        "paper": objective.spec.paper,
        "reconstructed": objective.spec.reconstructed,
        "defaults": default_config(name).parameters(),
    }


def default_config(name: str) -> Any:
    return CONFIGS[name](name=name)


LENGTHS = (20, 25, 22, 24)


def full_batch(logp: "Tensor", ref: "Tensor", lengths: Sequence[int] = LENGTHS) -> Batch:
    """A batch that serves every objective: `logp` and `ref` [B, K], spread evenly over tokens; plain values elsewhere.

    Scores fall from the first answer to the last, within 0..1, the judge is right with probability 0.8, and the further answers
    are what the reference gives.
    """
    import torch

    size, count = logp.shape
    n = torch.tensor([lengths[k % len(lengths)] for k in range(count)]).expand(size, count)
    mask = torch.arange(int(n.max())) < n[..., None]

    def by_token(sums: "Tensor") -> "Tensor":
        return (sums / n)[..., None] * mask

    one = logp.new_ones(size, 1)
    other = Answers(-18.0 * one, -18.0 * one, 20 * one)
    score = (torch.arange(count, 0, -1, dtype=logp.dtype) / count).expand(size, count)
    return Batch(
        logp,
        n,
        ref_logp=torch.stack([ref, 0.98 * ref]),
        label=torch.where(torch.arange(count) < (count + 1) // 2, 1.0, -1.0).to(logp.dtype).expand(size, count),
        score=score,
        win_prob=(score[:, :, None] - score[:, None, :]).sigmoid(),
        self_overlap=logp.detach(),
        confidence=logp.new_full((size,), 0.8),
        uncertainty=logp.new_full((size,), 0.1),
        weight=logp.new_ones(size),
        prompt_emb=torch.eye(size, dtype=logp.dtype) + 1,
        token_logp=by_token(logp),
        token_ref=by_token(ref),
        token_old=by_token(logp.detach()),
        token_mask=mask,
        shared=torch.full((size,), 5),
        step_id=(torch.arange(mask.shape[-1]) // 10).expand(mask.shape),
        aux={
            "mismatch": Answers(ref, ref, n),
            "reprompt": Answers(ref - 1, ref, n),
            "gold": other,
            "base": other,
            "rationale": other,
        },
    )


def answers_for(objective: Objective | type[Objective]) -> int:
    """How many answers a prompt the objective is shown with."""
    return 4 if Need.LIST in objective.needs or not objective.needs & (Need.PAIR | Need.LABELS) else 2


def curve(objective: Objective, margins: Sequence[float]) -> tuple[list[float], list[list[float]]]:
    """Loss, and its gradient by each answer's log-probability, at each margin: a list as long as `margins`, and one for each
    answer.

    The margin m is the first answer's log-ratio minus the last one's; the first one's is m / 2, the last one's -m / 2, and the
    others' are evenly between. Each margin is a batch of its own.
    """
    import torch

    count = answers_for(objective)
    # those on token ratios see the sampling policy at the reference
    ref = torch.tensor([[-30.0, -34.0, -32.0, -35.0][:count]], dtype=torch.float64)
    losses, gradients = [], []
    for margin in margins:
        ratio = torch.linspace(margin / 2, -margin / 2, count, dtype=torch.float64)
        logp = (ref + ratio).requires_grad_()
        batch = full_batch(logp, ref)
        batch = replace(batch, token_old=batch.token_ref, self_overlap=ref)
        loss, _, _ = objective(batch, State())
        (gradient,) = torch.autograd.grad(loss.sum(), logp)
        losses.append(loss.item())
        gradients.append(gradient[0].tolist())
    return losses, [list(answer) for answer in zip(*gradients, strict=True)]


def plot(name: str, path: Path, span: float = 40.0) -> None:
    """Draw loss and gradient of the objective with its defaults over margins of up to `span` nats into `path` (its suffix decides
    the format).

    Raises PlumblineError for a name that is not registered.
    """
    describe(name)
    from matplotlib.figure import Figure

    objective = build_objective(default_config(name))
    margins = [span * (i / 100 - 1) for i in range(201)]
    losses, gradients = curve(objective, margins)
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(margins, losses, color="#0b6b5e")
    left.set_ylabel("loss")
    labels = ["chosen", "rejected"] if len(gradients) == 2 else [f"answer {k + 1}" for k in range(len(gradients))]
    styles = zip(["#0b6b5e", "#b4531a", "#5b4bb5", "#1d2126"], ["-", "--", ":", "-."], strict=True)  # also without colours apart
    for label, gradient, (color, line) in zip(labels, gradients, styles, strict=False):
        right.plot(margins, gradient, label=label, color=color, linestyle=line)
    right.set_ylabel("gradient (below 0: more likely)")
    right.legend(frameon=False)
    for axis in (left, right):
        axis.set_xlabel("margin between log-ratios (nats)")
        axis.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    parameters = ", ".join(f"{key} {value}" for key, value in default_config(name).parameters().items())
    figure.suptitle(f"{name} ({parameters})" if parameters else name, fontsize=10)
    figure.savefig(path, dpi=120)

"""Parity with TRL 1.16's own code, losses and gradients, where it has the same objective.

TRL's losses stand inside its trainers' `_compute_loss`. They are called here on an object that carries just the settings these
read, with a "model" that hands out given log-probabilities by token; its bookkeeping afterwards runs as well.
"""

import os
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from models.objectives.batch import Answers, Batch, State
from tests.models.objective_cases import make

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
pytest.importorskip("trl", reason="trl is a dev dependency")
SIZE, T = 4, 12


class Accelerator:
    device = torch.device("cpu")

    def gather_for_metrics(self, x):
        return x

    gather = gather_for_metrics


def settings(**more):
    return SimpleNamespace(
        **{
            "model": SimpleNamespace(training=True),
            "accelerator": Accelerator(),
            "aux_loss_enabled": False,
            "ld_alpha": None,
            "precompute_ref_logps": True,
            "f_divergence_type": "reverse_kl",
            "f_alpha_divergence_coef": 0.5,
            "beta": 0.1,
            "label_smoothing": 0.0,
            "loss_weights": [1.0],
            "use_weighting": False,
            "args": SimpleNamespace(discopop_tau=0.05, gradient_checkpointing_kwargs=None),
            "_metrics": defaultdict(lambda: defaultdict(list)),
            "_total_train_tokens": 0,
            "_tp_size": 1,
        }
        | more
    )


def given(seed=0):
    """Log-probabilities by token [2 * SIZE, T] of policy and reference, self-overlaps, a mask; chosen answers first."""
    torch.manual_seed(seed)
    n = torch.randint(3, T + 1, (2 * SIZE,))
    mask = torch.arange(T) < n[:, None]
    logp, ref, overlap = (-torch.rand(2 * SIZE, T) * 3 * mask for _ in range(3))
    return logp.requires_grad_(), ref, overlap, mask


def pairs(x):
    """[2 * SIZE, ...] with chosen first to [SIZE, 2, ...]."""
    return torch.stack(x.chunk(2), 1)


def ours(logp, ref, overlap, mask, kl=0.0):
    token_logp, token_ref, mask = pairs(logp), pairs(ref), pairs(mask)
    lengths = mask.sum(-1)
    zero = torch.zeros(1, 1)
    return Batch(
        token_logp.sum(-1),
        lengths,
        token_ref.sum(-1)[None],
        torch.tensor([1.0, -1.0]).expand(SIZE, 2),
        self_overlap=pairs(overlap).sum(-1),
        token_logp=token_logp,
        token_ref=token_ref,
        token_mask=mask,
        aux={"mismatch": Answers(zero + kl, zero, zero + 1)},
    )


def compare(loss, theirs, logp):
    torch.testing.assert_close(loss, theirs, atol=1e-5, rtol=1e-5)
    real = logp.detach() != 0  # and not padding
    one, other = (torch.autograd.grad(x, logp, retain_graph=True)[0][real] for x in (loss, theirs))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def model_output(logp, overlap):
    def model(**inputs):
        some = torch.zeros_like(logp)
        return SimpleNamespace(
            log_probs=logp, log_sum_sq_probs=overlap, entropy=some, mean_logits=some, is_top1=some.bool()
        )  # fmt: skip

    return model


def shifted(mask):
    """TRL's mask is over inputs, whose first is the prompt's."""
    return torch.cat([torch.zeros(len(mask), 1, dtype=torch.long), mask.long()], 1)


def dpo_trainer(objective_settings, seed):
    from trl.trainer.dpo_trainer import DPOTrainer

    logp, ref, overlap, mask = data = given(seed)
    ref_logps = ref
    if objective_settings.get("ld_alpha") is not None:  # precomputed reference sums come desensitised
        short = pairs(mask).sum(-1).amin(-1).repeat(2)[:, None]
        ref_logps = ref * torch.where(torch.arange(T) < short, 1.0, objective_settings["ld_alpha"])
    inputs = {
        "input_ids": torch.zeros(2 * SIZE, T + 1, dtype=torch.long),
        "attention_mask": torch.ones(2 * SIZE, T + 1, dtype=torch.long),
        "completion_mask": shifted(mask),
        **dict(zip(("ref_chosen_logps", "ref_rejected_logps"), ref_logps.sum(-1).chunk(2), strict=True)),
    }
    return DPOTrainer._compute_loss(settings(**objective_settings), model_output(logp, overlap), inputs, False), data


IN_DPO = [
    ("dpo", {}, {"loss_types": ["sigmoid"]}),
    ("hinge", {}, {"loss_types": ["hinge"]}),
    ("ipo_mean", {}, {"loss_types": ["ipo"]}),
    ("exo", {}, {"loss_types": ["exo_pair"], "label_smoothing": 1e-3}),
    ("nca", {"beta": 0.1}, {"loss_types": ["nca_pair"]}),
    ("robust", {}, {"loss_types": ["robust"], "label_smoothing": 0.1}),
    ("sppo_hard", {}, {"loss_types": ["sppo_hard"]}),
    ("aot", {}, {"loss_types": ["aot"]}),
    ("aot_unpaired", {"beta": 0.1}, {"loss_types": ["aot_unpaired"]}),
    ("apo_zero", {}, {"loss_types": ["apo_zero"]}),
    ("apo_down", {}, {"loss_types": ["apo_down"]}),
    ("discopop", {"beta": 0.1}, {"loss_types": ["discopop"]}),
    ("dpo_norm", {"beta": 0.1}, {"loss_types": ["sigmoid_norm"]}),
    ("ld_dpo", {}, {"loss_types": ["sigmoid"], "ld_alpha": 0.5}),
    ("fdpo", {"divergence": "forward_kl", "beta": 0.1}, {"loss_types": ["sigmoid"], "f_divergence_type": "forward_kl"}),
    ("fdpo", {"divergence": "js", "beta": 0.1}, {"loss_types": ["sigmoid"], "f_divergence_type": "js_divergence"}),
    ("fdpo", {"divergence": "alpha", "beta": 0.1}, {"loss_types": ["sigmoid"], "f_divergence_type": "alpha_divergence"}),
    (  # from which end it is counted
        "fdpo",
        {"divergence": "alpha", "alpha": 0.2, "beta": 0.1},
        {"loss_types": ["sigmoid"], "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.2},
    ),
    ("ld_dpo", {"alpha": 0.2}, {"loss_types": ["sigmoid"], "ld_alpha": 0.2}),
    (
        "mpo",
        {"preference": 0.8, "quality": 0.2, "generation": 0.0},
        {"loss_types": ["sigmoid", "bco_pair"], "loss_weights": [0.8, 0.2]},
    ),
]


@pytest.mark.parametrize("name,parameters,theirs", IN_DPO, ids=["-".join([n, *map(str, p.values())]) for n, p, _ in IN_DPO])
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_and_gradients_equal_trl_dpo_trainer(name, parameters, theirs, seed):
    expected, data = dpo_trainer(theirs, seed)
    compare(make(name, **parameters)(ours(*data), State())[0].mean(), expected, data[0])


def test_wpo_equals_trl_where_no_weight_is_clipped():
    """TRL does not clip; with overlaps above the log-probabilities both weights are below 1."""
    from trl.trainer.dpo_trainer import DPOTrainer

    logp, ref, _, mask = given()
    data = (logp, ref, (logp + 0.3 * mask).detach(), mask)
    inputs = {
        "input_ids": torch.zeros(2 * SIZE, T + 1, dtype=torch.long),
        "attention_mask": torch.ones(2 * SIZE, T + 1, dtype=torch.long),
        "completion_mask": shifted(mask),
        **dict(zip(("ref_chosen_logps", "ref_rejected_logps"), ref.sum(-1).chunk(2), strict=True)),
    }
    trainer = settings(loss_types=["sigmoid"], use_weighting=True)
    expected = DPOTrainer._compute_loss(trainer, model_output(logp, data[2]), inputs, False)
    compare(make("wpo", beta=0.1)(ours(*data), State())[0].mean(), expected, logp)


def test_sft_equals_trl_where_answers_are_equally_long():
    """TRL pools the tokens of a batch; answers of one length weigh the same either way."""
    from trl.trainer.dpo_trainer import DPOTrainer

    logp, ref, overlap, _ = given()
    mask = torch.ones(2 * SIZE, T, dtype=torch.bool)
    inputs = {
        "input_ids": torch.zeros(2 * SIZE, T + 1, dtype=torch.long),
        "attention_mask": torch.ones(2 * SIZE, T + 1, dtype=torch.long),
        "completion_mask": shifted(mask),
        **dict(zip(("ref_chosen_logps", "ref_rejected_logps"), ref.sum(-1).chunk(2), strict=True)),
    }
    expected = DPOTrainer._compute_loss(settings(loss_types=["sft"]), model_output(logp, overlap), inputs, False)
    compare(make("sft")(ours(logp, ref, overlap, mask), State())[0].mean(), expected, logp)


@pytest.mark.parametrize("name,kl", [("kto", 0.7), ("kto", -0.7), ("apo_zero_unpaired", 0.0)])
def test_losses_and_gradients_equal_trl_kto_trainer(name, kl):
    from trl.trainer.kto_trainer import KTOTrainer

    logp, ref, overlap, mask = data = given()
    inputs = {
        "input_ids": torch.zeros(2 * SIZE, T + 1, dtype=torch.long),
        "attention_mask": torch.ones(2 * SIZE, T + 1, dtype=torch.long),
        "completion_mask": shifted(mask),
        "label": torch.tensor([1] * SIZE + [0] * SIZE),
        "ref_logps": ref.sum(-1),
        "ref_KL_logps": torch.zeros(3),
    }
    trainer = settings(
        loss_type=name, calculate_KL=name == "kto", desirable_weight=1.0, undesirable_weight=1.0,
        _compute_kl_logps=lambda model, batch: torch.full((3,), kl),
    )  # fmt: skip
    expected = KTOTrainer._compute_loss(trainer, model_output(logp, overlap), inputs, False)
    # TRL's mean is over rows, ours over pairs, which are two
    compare(make(name)(ours(*data, kl), State())[0].mean() / 2, expected, logp)
    # and where each answer is a row of its own, over the same rows
    one_sided = torch.arange(2) == (torch.arange(2 * SIZE) >= SIZE)[:, None]
    alone = [(x[:, None] * one_sided[..., None]).float() for x in (logp, ref, mask)]
    row = Batch(
        alone[0].sum(-1),
        alone[2].sum(-1),
        alone[1].sum(-1)[None],
        torch.tensor([1.0, -1.0]).expand(2 * SIZE, 2),
        mask=one_sided,
        aux=ours(*data, kl).aux,
    )
    compare(make(name)(row, State())[0].mean(), expected, logp)


def test_losses_and_gradients_equal_trl_cpo_and_orpo_trainers():
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    data = given()
    b = ours(*data)
    chosen, rejected = (b.logp / b.lengths).unbind(1)
    trainer = settings(alpha=0.0, loss_type="simpo", simpo_gamma=0.5, beta=2.0)
    compare(make("simpo")(b, State())[0].mean(), CPOTrainer.cpo_loss(trainer, chosen, rejected)[0].mean(), data[0])
    trainer = settings(alpha=0.0, loss_type="sigmoid")
    compare(make("cpo", nll_weight=0.0)(b, State())[0].mean(), CPOTrainer.cpo_loss(trainer, *b.logp.unbind(1))[0].mean(), data[0])
    trainer = settings(beta=0.1)  # TRL returns log s, to be subtracted from the likelihood
    odds = ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0]
    compare(make("orpo")(b, State())[0].mean(), (-chosen - odds).mean(), data[0])


@pytest.mark.parametrize("name,loss_type", [("triple_po", "sigmoid"), ("triple_po_l", "tpo-l")])
def test_losses_and_gradients_equal_trl_tpo_trainer(name, loss_type):
    from trl.experimental.tpo import TPOTrainer

    torch.manual_seed(0)
    logits = torch.randn(3 * SIZE, T + 1, 7, requires_grad=True)
    ids = torch.randint(7, (3 * SIZE, T + 1))
    n = torch.cat([torch.randint(3, T + 1, (2 * SIZE,)), torch.full((SIZE,), T)])  # TRL pools the gold answers' tokens
    mask = torch.arange(T) < n[:, None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": shifted(mask)}
    trainer = settings(loss_type=loss_type, beta=0.01, tpo_alpha=1.0, tpo_l_gamma=0.5)
    expected = TPOTrainer._compute_loss(trainer, lambda **_: SimpleNamespace(logits=logits), inputs, False)
    tokens = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0] * mask
    sums = tokens.sum(-1)
    gold = Answers(sums[2 * SIZE :, None], sums[2 * SIZE :, None], n[2 * SIZE :, None])
    b = Batch(pairs(sums[: 2 * SIZE]), pairs(n[: 2 * SIZE]), aux={"gold": gold})
    compare(make(name)(b, State())[0].mean(), expected, logits)

"""What holds for every objective on pairs or labels, and for the registry. Values are in test_objectives_vectors.py."""

import math
import re
import subprocess
import sys
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import PlumblineError
from data_contracts.objective_config import CONFIGS
from models.objectives import REGISTRY, build_objective, check
from models.objectives.batch import Batch, Need, State
from models.objectives.serving import PAIRS
from tests.models.objective_cases import PAIR_NAMES, batch, loss_and_gradient, make, random_pairs

VARIANTS = [(name, {}) for name in PAIR_NAMES] + [
    *(("fdpo", {"divergence": d}) for d in ("reverse_kl", "forward_kl", "alpha")),
    *(("upo_unified", {"base": base}) for base in ("kto", "ipo")),
    ("dno", {"practical": False}),
    ("apo_auto", {"own": "both"}),
]
IDS = ["-".join([name, *map(str, p.values())]) for name, p in VARIANTS]
every = pytest.mark.parametrize("name,parameters", VARIANTS, ids=IDS)
# what they detach moves with the log-probabilities, so differences of losses are not their gradient: the vectors hold it
DETACHES = {"wpo", "alpha_dpo", "bco"}
FALLS = [  # the loss falls with the chosen and rises with the rejected answer's likelihood, everywhere
    *("dpo", "robust", "hinge", "rso_hinge", "rso_sigmoid", "apo_zero", "apo_auto", "apo_zero_unpaired", "kto", "bco", "slic"),
    *("orpo", "simpo", "cpo", "mapo", "triple_po", "triple_po_l", "rpo", "mpo", "dpo_norm", "ld_dpo", "r_dpo", "odpo", "wpo"),
    *("alpha_dpo", "ada_dpo", "minor_dpo", "smpo", "fdpo", "aot", "aot_unpaired", "relative_po", "mrpo", "rationale_dpo"),
    *("bapo", "dove", "mapl", "dno"),
]


@pytest.mark.parametrize("name,parameters", [(n, p) for n, p in VARIANTS if n not in DETACHES])
def test_gradients_equal_finite_differences(name, parameters):
    pi, ref = random_pairs(5)
    objective = make(name, **parameters)

    def losses(logp):
        b = batch(pi, ref)
        mask, n = b.token_mask, b.lengths
        # so far apart in score that a step of the differences changes no sign
        return objective(replace(b, logp=logp, token_logp=(logp / n)[..., None] * mask), State())[0]

    assert torch.autograd.gradcheck(losses, torch.tensor(pi, dtype=torch.float64, requires_grad=True))


@every
def test_loss_and_gradient_stay_finite_200_nats_from_the_reference(name, parameters):
    for beta in ({}, {"beta": 5.0}) if "beta" in {f.name for f in fields(REGISTRY[name])} else ({},):
        objective = make(name, **(parameters | beta))
        for w in (-200.0, 0.0, 200.0):
            for l in (-200.0, 0.0, 200.0):  # noqa: E741
                b = batch([(w - 300, l - 300)], [(-300.0, -300.0)], torch.float32)
                loss, gradient = loss_and_gradient(objective, b)
                assert loss.isfinite().all() and gradient.isfinite().all()
                assert gradient.square().sum().isfinite()  # or clipping it would make it NaN


@every
def test_loss_and_gradient_stay_finite_ten_thousand_nats_away_also_on_answers_of_one_token(name, parameters):
    for w in (-1e4, 0.0, 1e4):
        for l in (-1e4, 0.0, 1e4):  # noqa: E741
            b = replace(batch([(w - 2e4, l - 2e4)], [(-2e4, -2e4)], torch.float32), lengths=torch.tensor([[1, 1]]))
            loss, gradient = loss_and_gradient(make(name, **parameters), b)
            assert loss.isfinite().all() and gradient.isfinite().all() and gradient.square().sum().isfinite()


@every
def test_the_order_of_a_batch_does_not_matter_and_its_company_only_if_declared(name, parameters):
    pi, ref = random_pairs(6)
    scores = [[0.5 + 0.3 * math.sin(i), 0.5 + 0.3 * math.sin(2 * i)] for i in range(6)]
    aux = dict(batch(pi, ref).aux)
    together = make(name, **parameters)(batch(pi, ref, score=scores), State())[0]

    order = [3, 0, 5, 1, 4, 2]
    b = batch([pi[i] for i in order], [ref[i] for i in order], score=[scores[i] for i in order])
    moved = make(name, **parameters)(replace(b, aux=dict(b.aux) | {"mismatch": aux["mismatch"]}), State())[0]
    torch.testing.assert_close(moved, together[order])

    alone = []
    for i in range(6):
        b = batch([pi[i]], [ref[i]], score=[scores[i]])
        alone.append(make(name, **parameters)(replace(b, aux=dict(b.aux) | {"mismatch": aux["mismatch"]}), State())[0])
    assert torch.allclose(torch.cat(alone), together) == (Need.WHOLE_BATCH not in REGISTRY[name].needs)


@every
def test_figures_are_plain_numbers_and_only_stateful_objectives_touch_the_state(name, parameters):
    pi, ref = random_pairs(4)
    before = State(3, 0.5, 2.0)
    loss, figures, after = make(name, **parameters)(batch(pi, ref), before)
    assert loss.shape == (4,) and all(type(value) is float for value in figures.values())
    assert (after != before) == (Need.STATE in REGISTRY[name].needs)


@pytest.mark.parametrize("name", FALLS)
@settings(max_examples=25, deadline=None)
@given(w=st.floats(-60, 60), l=st.floats(-60, 60), ref=st.floats(-120, -100))
def test_the_chosen_answer_is_pulled_up_and_the_rejected_one_down(name, w, l, ref):  # noqa: E741
    _, gradient = loss_and_gradient(make(name), batch([(w - 110, l - 110)], [(ref, ref)], score=[[1.0, 0.0]]))
    assert gradient[0, 0] <= 0 <= gradient[0, 1]


@pytest.mark.parametrize("name", FALLS)
def test_near_the_reference_both_answers_are_pulled(name):
    _, gradient = loss_and_gradient(make(name), batch([(-99.8, -99.8)], [(-100.0, -100.0)], score=[[1.0, 0.0]]))
    assert gradient[0, 0] < 0 < gradient[0, 1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-80, -1)] * 4), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_any_batch_in_any_order_has_the_same_mean_loss(rows, random):
    for name in ("dpo", "aot", "aot_unpaired", "relative_po", "bco", "alpha_dpo", "apo_auto"):
        shuffled = random.sample(rows, len(rows))
        one, other = (
            make(name)(batch([r[:2] for r in rs], [r[2:] for r in rs]), State())[0].sum().item() for rs in (rows, shuffled)
        )
        assert one == pytest.approx(other, rel=1e-9)


def test_padding_does_not_matter():
    pi, ref = random_pairs(3)
    b = batch(pi, ref)
    wide = {
        key: torch.cat([getattr(b, key), torch.full((3, 2, 4), fill, dtype=getattr(b, key).dtype)], -1)
        for key, fill in (("token_logp", math.nan), ("token_ref", math.nan), ("token_mask", False))
    }
    plain, padded = (torch.autograd.grad(make("ld_dpo")(case, State())[0].sum(), b.logp, retain_graph=True)
                     for case in (b, replace(b, **wide)))  # fmt: skip
    for one, other in zip(plain, padded, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_registry_and_config_name_the_same_objectives_with_the_same_keys():
    assert set(REGISTRY) == set(CONFIGS)
    for name, config in CONFIGS.items():
        objective = build_objective(config(name=name))
        assert objective.name == name and is_dataclass(objective) and objective.__dataclass_params__.frozen
        assert {f.name for f in fields(objective)} == set(config(name=name).parameters())
        assert set(config.model_fields) - {"name", "even_if_chosen_is_better"} == set(config(name=name).parameters())


def test_every_docstring_gives_one_line_a_formula_and_when_to_use_it_and_the_paper_is_named():
    for name, objective in REGISTRY.items():
        summary, _, rest = objective.__doc__.partition("\n\n")
        assert summary.endswith(".") and len(summary) < 130, name
        assert re.search(r"\bUse it\b|The baseline", rest), name
        assert ("econstructed" in rest) == objective.spec.reconstructed, name
        assert re.search(r"\d{4}\.\d{5}|definition|note", objective.spec.paper), name


def test_half_precision_log_probabilities_are_refused():
    with pytest.raises(TypeError, match="float32"):
        Batch(torch.zeros(1, 2, dtype=torch.bfloat16), torch.ones(1, 2))


def test_an_objective_whose_need_is_missing_is_refused_by_name():
    @dataclass(frozen=True)
    class Listwise:
        name: ClassVar[str] = "listwise"
        needs: ClassVar[Need] = Need.LIST | Need.SCORES | Need.REFERENCE

    with pytest.raises(PlumblineError, match=r"listwise needs a ranked list of answers .* and a judge's score"):
        check(Listwise, PAIRS)
    with pytest.raises(PlumblineError, match="dpo needs a reference model"):
        check(REGISTRY["dpo"], Need.PAIR)
    with pytest.raises(PlumblineError, match=r"dno needs win probabilities .* and the present policy's own samples"):
        check(make("dno", practical=False), PAIRS)
    for need in Need:  # every need has its words
        with pytest.raises(PlumblineError):
            check(type("Any", (), {"name": "any", "needs": need}), Need(0))


def test_pairs_alone_serve_these():
    served = {name for name in REGISTRY if not REGISTRY[name].needs & ~PAIRS}
    assert served >= {"sft", "dpo", "kto", "bco", "aot", "wpo", "ld_dpo", "simpo", "apo_zero", "alpha_dpo"}
    assert served.isdisjoint({"odpo", "apo_auto", "sppo_soft", "osp", "mrpo", "triple_po", "dove", "lipo", "grpo"})


def test_needs_are_known_without_importing_torch():
    code = (
        "import sys, models.objectives, models.objectives.catalogue as c, models.objectives.wrappers\n"
        "c.rows(); sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""Wrappers: what they add, and what they refuse."""

import math
from dataclasses import asdict, replace

import pytest
import torch
from pydantic import ValidationError

from data_contracts.errors import PlumblineError
from data_contracts.objective_config import WrappersConfig
from models.objectives import REGISTRY
from models.objectives.batch import Need, State
from models.objectives.catalogue import default_config
from models.objectives.wrappers import WEIGHTS, length_desensitised, mixture, nll_anchor, trimmed, weighted, wrap
from tests.models.objective_cases import PAIR_NAMES, PI, REF, batch, loss_and_gradient, make, random_pairs


def config(**options):
    return WrappersConfig.model_validate(options)


def same(one, other, b):
    for x, y in zip(loss_and_gradient(one, b), loss_and_gradient(other, b), strict=True):
        torch.testing.assert_close(x, y)


def test_nothing_asked_for_is_the_objective_itself():
    for name in PAIR_NAMES:
        objective = make(name)
        assert wrap(objective, config()) is objective


def test_wrappers_around_dpo_are_the_objectives_of_their_papers():
    b = batch(*random_pairs(5))
    dpo = make("dpo")
    same(nll_anchor(dpo, 1.0), make("rpo"), b)
    same(weighted(dpo, "likelihood"), make("wpo", beta=0.1), b)
    same(length_desensitised(dpo, 0.5), make("ld_dpo"), b)
    parts = [(make("dpo"), 0.8), (make("mpo", preference=0.0, quality=1.0, generation=0.0), 0.2), (make("sft"), 1.0)]
    same(mixture(parts), make("mpo"), b)
    mixed = config(mix=[{"objective": {"name": "sft"}, "weight": 1.0}])
    same(wrap(dpo, mixed), make("rpo"), b)


def test_needs_and_names_add_up():
    dpo = make("dpo")
    wrapped = wrap(dpo, config(length_desensitising=0.5, weight_by="judge_margin", nll_anchor=0.2))
    assert wrapped.needs == dpo.needs | Need.TOKENS | Need.SCORES | Need.WHOLE_BATCH
    assert wrapped.name == "dpo, tails at 0.5 weighted by judge_margin + 0.2 nll"
    assert mixture([(make("dpo"), 1.0), (make("bco"), 0.5)]).needs == dpo.needs | REGISTRY["bco"].needs
    assert set(WEIGHTS) == set(WrappersConfig.model_fields["weight_by"].annotation.__args__[0].__args__)


def test_the_anchor_is_not_weighted():
    b = batch(weight=[0.0])
    loss = wrap(make("dpo"), config(weight_by="given", nll_anchor=2.0))(b, State())[0]
    assert loss.item() == pytest.approx(2 * 0.6)


def test_weights_scale_loss_and_gradient_and_carry_none():
    pairs = [PI, PI, PI], [REF, REF, REF]
    plain, _ = loss_and_gradient(make("dpo"), batch(*pairs))
    cases = {
        "judge_margin": ({"score": [[3.0, 2.0], [5.0, 2.0], [math.nan, 1.0]]}, [0.5, 1.5, 1.0]),  # mean gap 2
        "certainty": ({"uncertainty": [0.0, math.log(2), math.log(2) / 2]}, [1.0, 0.0, 0.5]),
        "given": ({"weight": [0.3, 1.0, 2.0]}, [0.3, 1.0, 2.0]),
        "likelihood": ({"self_overlap": [[-12.0, -15.0 - 25 * math.log(x)] for x in (0.5, 1.0, 2.0)]}, [0.5, 1.0, 1.0]),
    }
    assert set(cases) == set(WEIGHTS)
    for by, (fields, weights) in cases.items():
        loss, figures, _ = weighted(make("dpo"), by)(batch(*pairs, **fields), State())
        assert (loss / plain).tolist() == pytest.approx(weights, abs=1e-4), by
        assert figures["weight"] == pytest.approx(sum(weights) / 3, abs=1e-4)


def test_equal_scores_weigh_alike():
    loss = weighted(make("dpo"), "judge_margin")(batch(score=[[1.0, 1.0]]), State())[0]
    assert loss.isfinite().all()


def test_trimming_changes_means_and_sides_and_no_difference_of_sums():
    b = batch()
    tokens = torch.full((1, 2, 25), -0.6, dtype=torch.float64)
    tokens[0, 0, 20:] = 0
    ref = tokens - 0.01 * torch.arange(25)
    same_start = replace(b, token_logp=tokens, token_ref=ref, shared=torch.tensor([4]))
    same_start = replace(same_start, logp=tokens.sum(-1).requires_grad_(), ref_logp=(ref * b.token_mask).sum(-1)[None])
    dpo, apo, simpo = make("dpo"), make("apo_zero"), make("simpo")
    assert trimmed(dpo)(same_start, State())[0].item() == pytest.approx(dpo(same_start, State())[0].item())
    assert trimmed(apo)(same_start, State())[0].item() != pytest.approx(apo(same_start, State())[0].item())
    means = tokens.sum(-1)[0] + 4 * 0.6
    expected = 2.0 * ((means[0] / 16 - means[1] / 21) - 0.25)
    assert trimmed(simpo)(same_start, State())[0].item() == pytest.approx(math.log1p(math.exp(-expected.item())))
    assert Need.SHARED_PREFIX in trimmed(make("cdpo")).needs


def test_a_mixture_keeps_the_one_state_and_names_its_figures():
    objective = mixture([(make("dpo"), 1.0), (make("bco"), 0.5)])
    loss, figures, state = objective(batch(), State())
    assert state == make("bco")(batch(), State())[2] != State()
    assert set(figures) == {"bco.delta"}
    expected = make("dpo")(batch(), State())[0] + 0.5 * make("bco")(batch(), State())[0]
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    "name,options,because",
    [
        ("simpo", {"length_desensitising": 0.5}, "divides by length already"),
        ("dpo_norm", {"length_desensitising": 0.5}, "divides by length already"),
        ("ld_dpo", {"length_desensitising": 0.5}, "set its alpha"),
        ("wpo", {"length_desensitising": 0.5}, "objective wpo needs more"),
        ("lipo", {"length_desensitising": 0.5}, "objective lipo"),
        ("rpo", {"nll_anchor": 1.0}, "holds the chosen answer's likelihood already"),
        ("apo_down", {"nll_anchor": 1.0}, "lowers the chosen answer"),
        ("grpo", {"weight_by": "given"}, "takes none"),
        ("sft", {"weight_by": "judge_margin"}, "takes none"),
        ("wpo", {"weight_by": "likelihood"}, "already"),
        ("sppo_hard", {"weight_by": "likelihood"}, "policy's own"),
        ("osp", {"weight_by": "certainty"}, "already"),
        ("dove", {"trim": True}, "answers to one prompt"),
        ("kto", {"trim": True}, "objective kto needs more"),
        ("dpo", {"trim": True, "length_desensitising": 0.5}, "use one of them"),
        ("bco", {"mix": [{"objective": {"name": "apo_auto"}, "weight": 1.0}]}, "each carry a state"),
        ("dpo", {"mix": [{"objective": {"name": "lipo"}, "weight": 1.0}]}, "cannot be mixed"),
        ("simpo", {"mix": [{"objective": {"name": "sft"}, "weight": 1.0}], "length_desensitising": 0.5}, "divides by length"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(name, options, because):
    with pytest.raises(PlumblineError, match=because):
        wrap(make(name) if name in PAIR_NAMES else REGISTRY[name](**default_config(name).parameters()), config(**options))


def test_wrappers_config_refuses_what_it_does_not_know():
    for wrong in ({"nll": 1.0}, {"nll_anchor": -1.0}, {"length_desensitising": 1.5}, {"weight_by": "luck"}):
        with pytest.raises(ValidationError):
            config(**wrong)
    assert asdict(State()) == {"count": 0, "mean": 0.0, "variance": 0.0}

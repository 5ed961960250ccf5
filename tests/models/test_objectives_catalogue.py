"""The table of objectives and their plots."""

import json
from dataclasses import replace

import pytest
import torch

from data_contracts.errors import PlumblineError
from models.objectives import REGISTRY
from models.objectives.batch import Need, State
from models.objectives.catalogue import answers_for, curve, default_config, describe, full_batch, plot, rows
from tests.models.objective_cases import make


def test_the_table_has_a_row_for_each_objective_and_is_json():
    table = rows()
    assert [row["name"] for row in table] == list(REGISTRY) and json.loads(json.dumps(table)) == table
    by_name = {row["name"]: row for row in table}
    assert by_name["simpo"]["reference"] is False and by_name["dpo"]["reference"] is True
    assert by_name["dpo"]["defaults"] == {"beta": 0.1} and by_name["dpo"]["needs"] == ["pair", "reference"]
    assert by_name["sppo_hard"]["on_policy"] == "required" and by_name["bapo"]["reconstructed"]
    assert {row["name"] for row in table if row["alone"] == ["chosen", "rejected"]} == {
        *("kto", "bco", "apo_zero_unpaired", "aot_unpaired")
    }
    assert by_name["sft"]["alone"] == ["chosen"] and by_name["aot"]["alone"] == []
    assert all(row["summary"] and row["paper"] for row in table)
    assert all(row["served_by"] for row in table)  # every objective is reached by some method
    own = ["on_policy_judge", "best_of_n", "rso"]
    assert by_name["grpo"]["served_by"] == own == by_name["sppo_hard"]["served_by"] and by_name["grpo"]["data"] == "lists"
    assert by_name["rationale_dpo"]["served_by"] == ["clair", "self_revision", "worst_revision"]
    auto = ["clair", "self_revision", "on_policy_judge", "stronger_preferred", "best_of_n", "rso", "recorded"]
    assert by_name["apo_auto"]["served_by"] == auto  # where the policy's own answers are in the pairs
    assert "clair" in by_name["dpo"]["served_by"] and "clair" not in by_name["apo_down"]["served_by"]


def test_describing_gives_the_formula_and_an_unknown_name_is_refused():
    shown = describe("apo_zero")
    assert "[1 - s(beta r_w)] + s(beta r_l)" in shown["text"] and "Use it when" in shown["text"]
    assert "h = r_w - r_l" in shown["symbols"] and describe("lipo")["symbols"] is None
    with pytest.raises(PlumblineError, match="no objective 'dpoo'"):
        describe("dpoo")
    with pytest.raises(PlumblineError, match="no objective 'sigmoid', perhaps dpo:"):  # TRL's name
        describe("sigmoid")


@pytest.mark.parametrize("name", REGISTRY)
def test_every_objective_has_a_curve(name):
    objective = REGISTRY[name](**default_config(name).parameters())
    losses, gradients = curve(objective, [-10.0, 0.0, 10.0])
    assert len(losses) == 3 and len(gradients) == answers_for(objective) and any(any(g) for g in gradients)


def test_a_plot_is_a_picture(tmp_path):
    plot("apo_zero", tmp_path / "apo_zero.png")
    assert (tmp_path / "apo_zero.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(PlumblineError):
        plot("nothing", tmp_path / "nothing.png")
    assert make("dpo").name == "dpo"


FIELDS = {  # of a batch, by the need that fills them
    Need.REFERENCE: ("ref_logp", "token_ref"),
    Need.LABELS: ("label",),
    Need.SCORES: ("score",),
    Need.WIN_PROBABILITIES: ("win_prob",),
    Need.CONFIDENCE: ("confidence",),
    Need.UNCERTAINTY: ("uncertainty",),
    Need.PROMPT_EMBEDDING: ("prompt_emb",),
    Need.TOKENS: ("token_logp", "token_mask", "token_ref"),
    Need.OLD_TOKENS: ("token_old",),
    Need.STEPS: ("step_id",),
    Need.OVERLAP: ("self_overlap",),
}
FREE = {"grpo": {"kl_weight": 0.0}, "pref_grpo": {"kl_weight": 0.0}, "pairwise_rl": {"kl_weight": 0.0}}


@pytest.mark.parametrize("name,parameters", [*((name, {}) for name in REGISTRY), *FREE.items(), ("dno", {"practical": False})])
def test_an_objective_looks_at_nothing_that_it_does_not_declare(name, parameters):
    objective = REGISTRY[name](**(default_config(name).parameters() | parameters))
    torch.manual_seed(0)
    ref = -20 - torch.rand(3, answers_for(objective), dtype=torch.float64)
    whole = full_batch(ref + torch.randn_like(ref), ref)
    declared = {field for need, some in FIELDS.items() if need in objective.needs for field in some}
    declared -= {"token_ref"} if Need.REFERENCE not in objective.needs else set()
    aux = {key: rows for key, rows in whole.aux.items() if Need[key.upper()] in objective.needs}
    hidden = {field: None for some in FIELDS.values() for field in some if field not in declared}
    bare = replace(whole, **hidden, weight=None, shared=None, aux=aux)
    if bare.ref_logp is not None and Need.REFERENCES not in objective.needs:
        bare = replace(bare, ref_logp=bare.ref_logp[:1])
    torch.testing.assert_close(objective(bare, State())[0], objective(whole, State())[0])

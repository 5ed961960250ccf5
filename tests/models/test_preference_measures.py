"""Bounds of an objective on its reference, calibration and repetition, each against numbers worked out by hand."""

import math

import pytest

from models.objectives.catalogue import default_config
from models.preference_measures import FLIP_MARGIN, calibration, reach
from models.text_measures import distinct, repetition, self_bleu
from tests.models.objective_cases import batch, loss_and_gradient, make


def test_pairs_too_far_behind_under_the_reference_cannot_be_flipped():
    behind = [3.0, -1.0, -4.9, -5.1]
    assert reach("ipo_sum", 0.1, behind)["reach"]["cannot_flip"] == 0.25  # its optimum lies at 0.5 / 0.1 = 5 nats
    assert reach("ipo_sum", 0.5, behind)["reach"]["cannot_flip"] == 0.5  # at 1 nat: a tie counts as flipped
    assert reach("hinge", 0.1, behind)["reach"]["cannot_flip"] == 0.0
    assert reach("dpo", 1.0, behind)["reach"]["cannot_flip"] == 0.5 and FLIP_MARGIN["dpo"] == pytest.approx(4.595, abs=1e-3)


@pytest.mark.parametrize("name", FLIP_MARGIN)
def test_an_objective_still_pushes_below_its_flip_margin_and_hardly_above(name):
    """A hundredth of beta, for each of the answers pushed: both with half the margin each, or one with all of it."""
    parameters = default_config(name).parameters()
    scale = next(parameters[key] for key in ("beta", "gamma", "tau") if key in parameters)
    sides = {"minor_dpo": (1, 0), "apo_down": (0, 1)}.get(name, (1, 1))

    def push(share):
        chosen, rejected = (share * FLIP_MARGIN[name] / scale * side / sum(sides) for side in sides)
        _, gradient = loss_and_gradient(make(name), batch([(chosen - 100, -rejected - 100)], [(-100.0, -100.0)]))
        return (sides[1] * gradient[0, 1] - sides[0] * gradient[0, 0]).item() / sum(sides) / scale

    assert push(1.01) < 0.01 < push(0.9)


def test_an_objective_without_such_a_bound_has_none():
    assert reach("simpo", 2.0, [1.0]) == reach("dpo", None, [1.0]) == reach("dpo", 0.1, []) == {}


def test_the_optimum_of_the_loss_may_rank_pairs_wrongly():
    p = 1 / (1 + math.exp(-1))  # logit 1: the optimum moves a pair by 1 / beta nats
    found = reach("dpo", 0.5, [0.0], [-1.9, -2.1, 5.0, -1000.0], [p, p, p, 1.0])["reach"]
    assert found["idealized_accuracy"] == 0.75
    assert reach("dpo", 0.5, [0.0], [0.0, 1.0], [0.5, 0.5])["reach"]["idealized_accuracy"] == 0.5


def test_rewards_that_are_the_judges_probabilities_are_calibrated():
    logits = [-2.0, -0.5, 0.0, 1.0, 3.0]
    judged = [1 / (1 + math.exp(-x)) for x in logits]
    assert calibration(logits, judged)["error"] == pytest.approx(0) == calibration(logits, judged)["brier"]


def test_rewards_that_are_sure_and_half_the_time_wrong_are_not():
    found = calibration([50.0, -50.0], [1.0, 1.0])
    assert (found["error"], found["brier"], found["predicted"], found["judged"]) == pytest.approx((0.5, 0.5, 1.0, 0.5))


def test_repetition_and_distinct_n_count_n_grams():
    assert repetition([1, 2, 3, 4] * 3) == pytest.approx(1 - 4 / 9)
    assert repetition(range(12)) == repetition([1, 2]) == 0
    assert distinct([[1, 2, 1, 2], [1, 2]], 2) == pytest.approx(2 / 4)
    assert distinct([[1], [2]], 2) == 1


def test_self_bleu_is_one_for_equal_answers_and_near_none_for_others():
    same, other = "the cat sat on the mat today", "seven blue whales sing under cold northern ice"
    assert self_bleu([same] * 3) == pytest.approx(1)
    assert self_bleu([same, other]) < 0.1
    assert self_bleu([same, ""]) == 0

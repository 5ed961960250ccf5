"""What an objective's needs add to a round: which stages between the judge and the training. Nothing heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_contracts.config_align import AlignConfig
from models.objectives.batch import Need
from models.objectives.serving import takes_lists
from models.objectives.wrappers import configured
from tasks.pair import METHODS, method_name
from tasks.pair import stages as pair_stages

JUDGED = Need.SCORES | Need.CONFIDENCE | Need.WIN_PROBABILITIES | Need.UNCERTAINTY | Need.TWO_PROMPTS
BESIDE = Need.GOLD | Need.BASE | Need.REPROMPT | Need.TWO_PROMPTS
FURTHER = Need.GOLD | Need.BASE


@dataclass(frozen=True)
class Plan:
    """`stages` come after the pairs' gate. `from_samples`: lists of the policy's own answers are made in place of pairs."""

    needs: Need
    stages: tuple[str, ...]
    from_samples: bool = False
    anchored: bool = False


def plan(align: AlignConfig, own: str, asks: bool = True) -> Plan:
    """`own`: how many answers of the policy to a prompt the pair method takes (config_pairs.MethodBase); `asks`: whether it has
    prompts that others can be asked as well, or pairs that are there already."""
    needs = configured(align.objective, align.wrappers).needs
    last = ("reference",) if align.reference == "extrapolated" else ()
    if takes_lists(needs):
        if own == "several":
            return Plan(needs, ("lists", "validate_lists", *last), True, align.objective.name == "pairwise_rl")
        return Plan(needs, ("score_pairs", "lists", "validate_lists", *last))
    by_margin = align.curriculum is not None and align.curriculum.by == "margin"
    stages: tuple[str, ...] = ("score_pairs",) if needs & JUDGED or by_margin else ()
    stages += ("further",) if needs & FURTHER and asks else ()
    stages += ("complete",) if needs & BESIDE else ()
    return Plan(needs, (*stages, *last))


def further_writers(needs: Need) -> dict[Need, int]:
    """Who answers beside the pair: need -> the index of its samples."""
    asked = [need for need in (Need.GOLD, Need.BASE) if need in needs]
    return {need: place for place, need in enumerate(asked)}


def stages(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages of a round, up to what is trained on, from a saved config."""
    made, judged = pair_stages(config), METHODS[method_name(config["method"])].stages
    own = "several" if {"sample", "judge"} <= set(judged) else "one"
    added = plan(AlignConfig.model_validate(config["align"]), own, "prompts" in judged)
    return (*judged, *added.stages) if added.from_samples else (*made, *added.stages)

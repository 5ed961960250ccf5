"""Every way to make pairs: which stages a round goes through, and the pure function that picks the pairs from what they left.

To add one: its keys in data_contracts/config_pairs.py, its function beside its kin here, its line in METHODS. `flows/round.py`,
`plumbline status` and the report read the stages from this dict. Nothing heavy is imported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from data_contracts.config_pairs import ReviseConfig
from tasks.pair.judged import best_of_n, judged, rso
from tasks.pair.ranked import delta, recorded, stronger_preferred
from tasks.pair.revised import clair, worst_revision
from tasks.pair.rows import Given, Made

_PROMPTS = ("prompts", "validate_prompts")
_SAMPLE = (*_PROMPTS, "sample", "validate_samples")
_OTHERS = ("sample_others", "validate_others")


@dataclass(frozen=True)
class Method:
    """`stages` come before the stage `pair`; `make` picks the pairs from the datasets of the stages in `reads`, their parents."""

    stages: tuple[str, ...]
    reads: tuple[str, ...]
    make: Callable[[Given], Made]
    template: str = "minimal-1"  # of the revision, where the config names none
    draws: bool = False  # by lot, so that the run's seed decides with
    alone: bool = False  # knows of a prompt's only answer which side it is: kept where the objective takes it


_REVISED = partial(Method, (*_SAMPLE, "revise", "validate_revisions"), ("validate_revisions",))
_JUDGED = partial(Method, (*_SAMPLE, "judge", "validate_verdicts"), ("validate_samples", "validate_verdicts"))

METHODS: dict[str, Method] = {
    "clair": _REVISED(clair),
    "self_revision": _REVISED(clair, template="self-1"),
    "worst_revision": _REVISED(worst_revision, template="worsen-1"),
    "on_policy_judge": _JUDGED(judged),
    "best_of_n": _JUDGED(best_of_n, draws=True, alone=True),
    "rso": _JUDGED(rso, draws=True),
    "off_policy_judge": Method(
        (*_PROMPTS, *_OTHERS, "judge", "validate_verdicts"), ("validate_others", "validate_verdicts"), judged
    ),
    "stronger_preferred": Method((*_SAMPLE, *_OTHERS), ("validate_samples", "validate_others"), stronger_preferred, alone=True),
    "delta": Method((*_PROMPTS, *_OTHERS), ("validate_others",), delta, alone=True),
    "recorded": Method(("import",), ("import",), recorded),
}


def revise_config(config: ReviseConfig, method: str) -> ReviseConfig:
    """With the method's own template where the config names none."""
    return config.model_copy(update={"template": config.template or METHODS[method].template})


def method_name(method: str | Mapping[str, Any]) -> str:
    """The name in a saved config, where it stands alone or among the method's own keys."""
    return method if isinstance(method, str) else str(method["name"])


def stages(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages of a round, up to its clean pairs, from a saved config."""
    pairs = config.get("pairs", {})
    views = ("second_view",) if pairs.get("second_view") else ()
    replay = ("replay",) if pairs.get("replay") else ()
    return (*METHODS[method_name(config["method"])].stages, "pair", *views, *replay, "validate_pairs")

"""What data can serve which objective: read from a configuration before anything runs, from a dataset's columns before training.

No torch here: a configuration is refused before anything heavy is loaded.
"""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_align import AlignConfig
from data_contracts.config_judge import SCORING
from data_contracts.config_pairs import Method, MethodBase
from data_contracts.errors import PlumblineError
from data_contracts.json_text import lines_of
from data_contracts.store import read_parquet
from models.objectives import build_objective, check
from models.objectives.batch import Need, Objective
from models.objectives.one_sided import refuse_labels
from models.objectives.wrappers import configured

# what the trainer computes from token ids alone
TRAINER = Need.REFERENCE | Need.TOKENS | Need.OVERLAP | Need.PROMPT_EMBEDDING | Need.WHOLE_BATCH | Need.STATE
PAIRS = TRAINER | Need.PAIR | Need.LABELS | Need.MISMATCH | Need.SHARED_PREFIX | Need.DEGRADATIONS
LISTS = TRAINER | Need.LIST | Need.SCORES | Need.OLD_TOKENS | Need.STEPS

PAIR_COLUMNS = {
    "chosen_score": Need.SCORES,
    "rejected_score": Need.SCORES,
    "win_probability": Need.CONFIDENCE | Need.WIN_PROBABILITIES,
    "uncertainty": Need.UNCERTAINTY,
    "weight": Need.WEIGHT,
    "gold_ids": Need.GOLD,
    "base_ids": Need.BASE,
    "reasoning": Need.RATIONALE,
    "reprompt_ids": Need.REPROMPT,
    "rejected_prompt_ids": Need.TWO_PROMPTS,
}
LIST_COLUMNS = {"scores": Need.SCORES, "wins": Need.WIN_PROBABILITIES}


def takes_lists(needs: Need) -> bool:
    """Whether an objective is trained on lists of a prompt's answers instead of pairs."""
    return bool(needs & (Need.LIST | Need.OLD_TOKENS))


def config_serves(config: RoundsConfig | HumanPairsConfig, lists: bool) -> Need:
    """What the run's own stages can give an objective on pairs, or on lists."""
    served = Need.REFERENCES if config.align.second_reference else Need(0)
    if isinstance(config, HumanPairsConfig):
        return served | (TRAINER if lists else PAIRS | _file_serves(Path(config.pairs.file)))
    made = method_serves(config.method, config.judge.kind, config.judge.votes, lists)
    if config.method.name == "recorded" and not lists:  # nobody is asked for further answers: they are in the file or not there
        told = Need.GOLD if config.method.gold else Need(0)
        return served | made & ~(Need.GOLD | Need.BASE) | told | _file_serves(Path(config.prompts.file))
    return served | made


def method_serves(method: MethodBase | type[MethodBase], judge: str, votes: int, lists: bool) -> Need:
    """What a pair method and a judge give an objective on pairs, or on lists."""
    served = Need.ON_POLICY if method.own == "several" else Need(0)
    if lists:
        return served | LISTS | Need.WIN_PROBABILITIES
    served |= PAIRS | Need.GOLD | Need.BASE | Need.REPROMPT | Need.CONFIDENCE | Need.WIN_PROBABILITIES
    if method.revised:
        served |= Need.RATIONALE
    if judge in SCORING:
        served |= Need.SCORES | Need.TWO_PROMPTS
    if judge == "likelihood" or votes > 1:
        served |= Need.UNCERTAINTY
    return served


def served_by(objective: type[Objective]) -> list[str]:
    """The pair methods whose answers an objective can be trained on as pairs or lists, with a judge that scores answers.

    A second reference model is the config's to name, so it is taken to be there.
    """
    lists, found = takes_lists(objective.needs), []
    for method in get_args(Method):
        name = method.model_fields["name"].annotation.__args__[0]
        given = method_serves(method, "likelihood", 1, lists) | Need.REFERENCES
        beside = objective.name == "apo_down" and _chosen_is_better(method, name)
        if not objective.needs & ~given and not beside and not (objective.name == "apo_auto" and not _own_of(method, name)):
            found.append(name)
    return found


def _chosen_is_better(method: MethodBase | type[MethodBase], name: str) -> bool:
    """Whether the chosen answers are better than what the policy writes on average."""
    return name in ("clair", "self_revision", "stronger_preferred") or method.own == "several"


def _own_of(method: MethodBase | type[MethodBase], name: str) -> tuple[str, ...]:
    """Which of a pair's answers may be the policy's own, as apo_auto's `own` says it; nothing where others write the rejected."""
    if name == "recorded":
        return ("rejected", "both")
    if method.own == "several":
        return ("both",)
    return ("rejected",) if name in ("clair", "self_revision", "stronger_preferred") else ()


def data_serves(folder: Path, kind: str, policy: str) -> tuple[Need, dict[Need, str]]:
    """What the dataset in `folder` can give an objective that trains the checkpoint with the hash `policy`, and of what it holds
    in some rows only how many lack it."""
    table = read_parquet(folder / "data.parquet")
    columns = LIST_COLUMNS if kind == "lists" else PAIR_COLUMNS
    served, partial = (LISTS & ~Need.SCORES if kind == "lists" else PAIRS), dict[Need, str]()
    lacking: dict[Need, int] = {}
    for name, needs in columns.items():
        values = table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
        missing = sum(value is None or value == "" or value == [] for value in values)
        for need in needs:
            lacking[need] = max(lacking.get(need, 0), missing)
    for need, missing in lacking.items():
        if not missing:
            served |= need
        elif missing < table.num_rows:
            partial[need] = f"{missing} of {table.num_rows} {kind} lack it"
    if table.num_rows and all(table["on_policy"].to_pylist()) and set(table["policy"].to_pylist()) == {policy}:
        served |= Need.ON_POLICY
    return served, partial


def refuse_config(config: RoundsConfig | HumanPairsConfig) -> None:
    """Raises PlumblineError for an objective, or what is put round it, that the run cannot serve or that makes no sense."""
    objective = configured(config.align.objective, config.align.wrappers)
    refuse_labels(config)
    lists = takes_lists(objective.needs)
    if lists and isinstance(config, HumanPairsConfig):
        raise PlumblineError(
            f"objective {objective.name} is trained on lists of a prompt's answers, and a preference file holds pairs: "
            "use flow rounds, or another objective"
        )
    check(objective, config_serves(config, lists))
    refuse_training(objective, config.align)
    _refuse_idle(config)
    if isinstance(config, HumanPairsConfig):
        for key, asked in (("momentum", config.align.momentum > 0), ("reference extrapolated", _extrapolates(config.align))):
            if asked:
                raise PlumblineError(
                    f"{key} goes on from one round's model to the next, and flow human_pairs has none: leave it out"
                )
        return
    _refuse_down(objective, config)
    _refuse_auto(config)
    needs = objective.needs
    _refuse_pairs(objective, config, lists)
    if config.align.curriculum and config.align.curriculum.by == "margin" and config.judge.kind not in SCORING:
        raise PlumblineError(
            "curriculum.by margin needs a judge that scores answers (likelihood, pointwise, checklist): use reference_gap"
        )
    if objective.name.startswith("pairwise_rl") and config.sample.n < 3:
        raise PlumblineError("objective pairwise_rl takes one of a prompt's answers as the anchor: set sample.n to 3 or more")
    if objective.name.startswith("pairwise_rl") and config.align.reference != "previous":
        raise PlumblineError(
            "objective pairwise_rl compares with an answer of the reference model, and the policy's own are the reference's "
            "only with align.reference previous"
        )
    if Need.ON_POLICY in needs and config.sample.temperature != 1.0 and Need.OLD_TOKENS in needs:
        raise PlumblineError(
            f"objective {objective.name} follows the policy's gradient on its own samples, which sample.temperature "
            f"{config.sample.temperature} draws from another distribution: set it to 1.0"
        )


def _refuse_idle(config: RoundsConfig | HumanPairsConfig) -> None:
    """Raises PlumblineError for what is to be done every so many steps where training cannot take so many."""
    c = config.align
    asked = [("ema", c.ema.every, "the reference would never move")] if c.reference == "ema" else []
    asked += [("early_stop", c.early_stop.every, "it could never stop early")] if c.early_stop else []
    stages = c.curriculum.stages if c.curriculum else 1  # each may end with a smaller batch
    most = c.epochs * (math.ceil(_most_rows(config) / c.batch_size) + stages - 1) if asked else 0
    for key, every, effect in asked:
        if every >= most:
            raise PlumblineError(f"align.{key}.every is {every} and training takes {most} steps at most, so {effect}: lower it")


def _most_rows(config: RoundsConfig | HumanPairsConfig) -> int:
    """More than a training can have: every answer of the policy in a pair of its own, or every line of the file."""
    if isinstance(config, HumanPairsConfig):
        return sum(1 for _ in lines_of(Path(config.pairs.file)))
    own = config.prompts.per_round * config.sample.n
    return math.ceil(own * (1 + sum(config.pairs.replay)))


def _refuse_pairs(objective: Objective, config: RoundsConfig, lists: bool) -> None:
    """Raises PlumblineError for what is done to pairs where none are made, or where it brings what the objective cannot take."""
    done = [name for name in ("second_view", "replay") if getattr(config.pairs, name)]
    if done and lists and config.method.own == "several":
        raise PlumblineError(
            f"objective {objective.name} is trained on lists of the policy's own answers, and no pairs are made of them: "
            f"pairs.{done[0]} would do nothing, leave it out"
        )
    if config.pairs.replay and Need.ON_POLICY in objective.needs:
        raise PlumblineError(
            f"objective {objective.name} needs the present policy's own samples, and pairs.replay brings those of earlier ones: "
            "leave it out"
        )


def _refuse_down(objective: Objective, config: RoundsConfig) -> None:
    """Raises PlumblineError for apo_down where the chosen answers are better than what the policy writes on average.

    The paper has it for the opposite case. On the embedded world it took the score from 0.55 to 0.16 with revisions and to 0.35
    with judged samples, which is what its loss says, so that no choice of beta mends it.
    """
    parts = config.align.objectives
    if any(part.name == "apo_down" and not part.even_if_chosen_is_better for part in parts) and _chosen_is_better(
        config.method, config.method.name
    ):
        raise PlumblineError(
            f"objective {objective.name} lowers the chosen answers, and those of method {config.method.name} are better than "
            "what the policy writes on average: it would unlearn them; use apo_zero, or apo_auto to decide pair by pair "
            "(even_if_chosen_is_better: true does it all the same)"
        )


def _refuse_auto(config: RoundsConfig) -> None:
    """Raises PlumblineError for apo_auto where the answers it takes for the policy's own are not."""
    name, own = config.method.name, _own_of(config.method, config.method.name)
    for part in config.align.objectives:
        if part.name != "apo_auto" or part.own in own:
            continue
        if not own:
            raise PlumblineError(
                "objective apo_auto compares the chosen answers with what the policy itself writes, and the rejected answers of "
                f"method {name} are not its own: use apo_zero, or apo_down where the policy writes better"
            )
        raise PlumblineError(
            f"objective apo_auto takes {_OWN[part.own]} for the policy's own, and of method {name} {_OWN[own[0]]} are: "
            f"set align.objective.own to {own[0]}"
        )


_OWN = {"rejected": "the rejected answers", "both": "both answers of a pair"}


def refuse_data(folder: Path, kind: str, policy: str, objective: Objective, second_reference: bool) -> None:
    """Raises PlumblineError if the dataset in `folder` lacks something that the objective needs, before a model is loaded."""
    if (kind == "lists") != takes_lists(objective.needs):
        raise PlumblineError(
            f"objective {objective.name} is not trained on {kind}, which {folder} holds: choose another objective"
        )
    served, partial = data_serves(folder, kind, policy)
    check(objective, served | (Need.REFERENCES if second_reference else Need(0)), partial)


def refuse_training(objective: Objective, config: AlignConfig) -> None:
    """Raises PlumblineError, with the reason, for references, momentum and curricula that make no sense together."""
    for asked, reason in _nonsense(objective, config):
        if asked:
            raise PlumblineError(reason)


def _nonsense(objective: Objective, config: AlignConfig) -> Iterator[tuple[bool, str]]:
    name, uses_reference = objective.name, Need.REFERENCE in objective.needs
    chosen = config.reference != "previous"
    yield (
        chosen and not uses_reference,
        f"objective {name} uses no reference model, so align.reference {config.reference} has no effect: leave it out",
    )
    yield (
        config.lora is not None and find_spec("peft") is None,
        "align.lora needs peft, which is not installed: pip install peft, or leave it out to train all weights",
    )
    yield (
        config.second_reference is not None and Need.REFERENCES not in objective.needs,
        f"objective {name} looks at one reference model: leave align.second_reference out, or choose mrpo",
    )
    moves = config.reference == "ema" or (config.curriculum is not None and uses_reference)
    yield (
        moves and config.lora is not None,
        "a reference that follows the policy needs all its weights, and align.lora trains factors of a few: leave one out",
    )
    yield (
        moves and Need.REFERENCES in objective.needs,
        f"objective {name} measures against fixed references, and this one would move: leave reference ema and curriculum out",
    )
    yield (
        config.curriculum is not None and config.reference == "ema",
        "align.curriculum and reference ema both move the reference: use one of them",
    )
    yield (
        config.curriculum is not None and takes_lists(objective.needs),
        f"align.curriculum orders pairs, and objective {name} is trained on lists: leave it out",
    )
    yield (
        config.curriculum is not None and config.curriculum.by == "reference_gap" and not uses_reference,
        f"objective {name} uses no reference model to order pairs by: set curriculum.by to margin",
    )
    yield (
        config.momentum > 0 and _extrapolates(config),
        "with momentum each round starts from the extrapolated model already: use reference previous with it",
    )


def far_reference(config: AlignConfig) -> str | None:
    """What is doubtful about the reference from the second round on, in words."""
    parts = (config.objective, *(mixed.objective for mixed in config.wrappers.mix))
    names = [part.name for part in parts if build_objective(part).spec.from_previous]
    if config.reference != "initial" or not names:
        return None
    return (
        f"objective {names[0]} is derived for a reference that is each round's first policy (align.reference previous); with "
        "initial, later rounds draw the policy back towards the run's start"
    )


def _extrapolates(config: AlignConfig) -> bool:
    return config.reference == "extrapolated"


def _file_serves(path: Path) -> Need:
    """What the first readable line of a preference file promises."""
    from models.transcripts import EXTRAS, extras_in, first_object

    keys, served = extras_in(first_object(path)), Need(0)
    for key in keys:
        served |= PAIR_COLUMNS.get(EXTRAS[key], Need(0))
    if {"chosen_score", "rejected_score"} - keys:
        served &= ~Need.SCORES
    return served

"""Whether a chat template has answers stand where those of others are put. Loads the tokenizer, which takes time."""

from collections.abc import Mapping

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError, in_short
from models.chat import astray
from models.checkpoint import Checkpoint, load_tokenizer, open_checkpoint
from tasks.pair import METHODS


def check_template(config: RoundsConfig | HumanPairsConfig, policy: Checkpoint) -> None:
    """Raises PlumblineError where answers that the policy did not sample itself would be learnt where its template has none."""
    if isinstance(config, RoundsConfig):
        written = {"revise", "import"} & set(METHODS[config.method.name].stages)
        if not written and not any(writer.kind in ("teacher", "file") for writer in config.method.writers):
            return
    if between := astray(load_tokenizer(policy.path)):
        raise PlumblineError(
            f"the chat template of {policy.path} does not write an answer where it asks for one ({in_short(between, 60)!r} is "
            "between), so answers of others would be learnt at a wrong place: give the model a chat_template.jinja that writes "
            "nothing there, or use a method that takes the policy's own samples only (on_policy_judge, best_of_n, rso)"
        )


def judges_of(config: RoundsConfig) -> dict[str, JudgeConfig]:
    """By their place in the configuration."""
    return {"judge": config.judge} | ({"pairs.second_view": config.pairs.second_view} if config.pairs.second_view else {})


def check_judges(config: RoundsConfig, judges: Mapping[str, JudgeConfig]) -> None:
    """Raises PlumblineError where a local teacher would have to take, or give, a bare answer at a place where its template has
    none: its probability there says little, and all verdicts would be noise."""
    for key, judge in judges.items():
        setting = "kind likelihood" if judge.kind == "likelihood" else f"verdict {judge.verdict}"
        if config.teacher.kind != "local" or setting == "verdict text":
            continue
        path = open_checkpoint(config.teacher.model).path
        if between := astray(load_tokenizer(path)):
            instead = "kind generation" if judge.kind == "likelihood" else "verdict text"
            raise PlumblineError(
                f"{key}.{setting} has the teacher take an answer where its chat template in {path} asks for one, and there it "
                f"writes none ({in_short(between, 60)!r} is between): use {key}.{instead}, or give the teacher a "
                "chat_template.jinja that writes nothing there"
            )

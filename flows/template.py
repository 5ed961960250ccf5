"""Whether the policy's chat template has answers stand where those of others are put. Loads the tokenizer, which takes time."""

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.errors import PlumblineError, in_short
from models.chat import astray
from models.checkpoint import Checkpoint, load_tokenizer
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

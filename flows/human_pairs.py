"""Align on a preference file that is already there: import, validate, hold out, rank, align, rank again."""

from dataclasses import replace
from functools import partial

from prefect import flow

from data_contracts.config import HumanPairsConfig
from data_contracts.suites.contract import Limits
from flows import story
from flows.rounds import finish, tell, telling_failure
from flows.session import current
from flows.step import step
from flows.template import check_template
from models.checkpoint import Checkpoint, load_tokenizer, open_checkpoint
from models.objectives.one_sided import refuse_one_sided
from tasks.align import align
from tasks.changes import TITLE, read_changes
from tasks.contamination import evaluation_texts
from tasks.import_pairs import import_pairs, refuse_unreadable, split_held_out
from tasks.rank import rank
from tasks.validate import limits_of, validate


def limits_for(config: HumanPairsConfig, policy: Checkpoint) -> Limits:
    """What the gate of the pairs must know. Such a run has no benchmark, so only sets that it names are evaluation sets."""
    limits = limits_of(load_tokenizer(policy.path), config.validate_.max_tokens)
    named = config.validate_.contamination
    return replace(limits, evaluation=evaluation_texts(None, named)) if named.sets else limits


@flow(name="human pairs", flow_run_name="{name}", persist_result=False)
def human_pairs_flow(name: str) -> None:
    """One alignment, measured by how often the chosen answer of a held-out pair is the likelier one."""
    s = current()
    c, folder = s.config, s.folder
    assert isinstance(c, HumanPairsConfig)
    with telling_failure(folder):
        story.changes(TITLE, read_changes(folder))
        check_template(c, s.policy)
        read = step("import", import_pairs, folder / "import", c.pairs, s.policy)
        refuse_unreadable(read, c.pairs.file, c.validate_.max_quarantined)
        refuse_one_sided(read.folder, c.align)
        limits = limits_for(c, s.policy)
        clean = step("validate pairs", validate, folder / "validate_pairs", read, c.validate_, limits, folder / "data_docs")
        train = step("train split", split_held_out, folder / "train", clean, c.pairs.held_out, c.seed, "train")
        held_out = step("held-out split", split_held_out, folder / "held_out", clean, c.pairs.held_out, c.seed, "held_out")
        step("rank before", rank, folder / "rank_before", held_out, s.policy, s.trainer)
        second = s.others.get(c.align.second_reference or "", s.policy if c.align.second_reference else None)
        stage = partial(align, second=second)
        trained = step("align", stage, folder / "align", train, c.align, s.policy, s.policy, c.seed, s.trainer)
        step("rank after", rank, folder / "rank_after", held_out, open_checkpoint(trained.folder / "model"), s.trainer)
        tell(folder)
        finish(folder)

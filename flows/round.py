"""One round: sample, revise or judge, pair, validate, align, evaluate, promote. This file only wires."""

from pathlib import Path

from prefect import flow

from data_contracts.store import Dataset
from flows.overrides import settle
from flows.session import Session, current
from flows.step import step
from flows.story import markdown
from models.checkpoint import load_tokenizer, open_checkpoint
from tasks.align import align
from tasks.evaluate import evaluate
from tasks.judge import judge
from tasks.lineage import Standing, standing
from tasks.pair import pair_clair, pair_judged
from tasks.promote import decide, write_decision
from tasks.prompts import take_prompts
from tasks.revise import revise
from tasks.sample import sample
from tasks.validate import limits_of, validate
from tasks.win_rate import win_rate


@flow(name="round", flow_run_name="round {number}", persist_result=False, validate_parameters=False)
def round_flow(number: int) -> None:
    """From the champion as it stands to a decision about its successor."""
    s = settle(current(), number)
    c, folder, name = s.rounds, s.folder / f"round-{number}", f"round {number}"
    champion = standing(s.folder, s.policy, number)
    seed = c.seed * 1000 + number

    pairs = make_pairs(s, folder, name, champion, number, seed)
    s.align_alone()
    reference = s.policy if c.align.reference == "initial" else champion.model
    trained = step(f"{name}: align", align, folder / "align", pairs, c.align, champion.model, reference, seed, s.trainer)
    candidate = open_checkpoint(trained.folder / "model")
    answers = step(f"{name}: evaluate", evaluate, folder / "evaluate", c.evaluate, candidate, s.engine())
    wins = step(f"{name}: win rate", win_rate, folder / "win_rate", answers, champion.answers, c.judge, s.teacher(), seed)
    decision = decide(answers, champion.answers, wins, c.promote)
    write_decision(folder / "decision.json", decision)
    markdown(f"{name}: decision", decision.reason)


def make_pairs(s: Session, folder: Path, name: str, champion: Standing, number: int, seed: int) -> Dataset:
    """The round's clean preference pairs, by the configured method; every dataset passes its gate before the next is made."""
    c, retries = s.rounds, 2 if s.rounds.teacher.kind == "openai" else 0
    engine, teacher = s.engine(), s.teacher()
    limits = limits_of(load_tokenizer(champion.model.path), c.validate_.max_tokens, champion.model.hash)

    def gate(data: Dataset) -> Dataset:
        where = folder / f"validate_{data.kind}"
        return step(f"{name}: validate {data.kind}", validate, where, data, c.validate_, limits, s.folder / "data_docs")

    prompts = step(f"{name}: prompts", take_prompts, folder / "prompts", c.prompts, number)
    drawn = step(f"{name}: sample", sample, folder / "sample", prompts, c.sample, champion.model, engine, seed)
    samples = gate(drawn)
    if c.method == "clair":
        revised = step(
            f"{name}: revise", revise, folder / "revise", samples, c.revise, teacher, champion.model, seed, retries=retries
        )
        return gate(step(f"{name}: pair", pair_clair, folder / "pair", gate(revised)))
    verdicts = step(f"{name}: judge", judge, folder / "judge", samples, c.judge, teacher, seed, retries=retries)
    return gate(step(f"{name}: pair", pair_judged, folder / "pair", samples, verdicts))

"""One round: sample, revise or judge, pair, validate, align, evaluate, promote. This file only wires."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from data_contracts.store import Dataset, open_dataset
from flows.measures import both_harness, held_out, preferences, win_rates
from flows.overrides import settle
from flows.references import references
from flows.serve import lists_from_samples, serve
from flows.session import Session, current
from flows.step import step
from flows.story import changes, markdown
from models.checkpoint import load_tokenizer, open_checkpoint
from models.objectives.one_sided import alone, refuse_one_sided
from tasks.align import align
from tasks.changes import round_changes
from tasks.contamination import evaluation_texts
from tasks.evaluate import evaluate
from tasks.import_pairs import refuse_unreadable
from tasks.import_recorded import import_recorded
from tasks.judge import judge
from tasks.lineage import Standing, standing
from tasks.pair import METHODS, revise_config
from tasks.pair.stage import pair
from tasks.promote import decide, write_decision
from tasks.prompts import take_prompts
from tasks.replay import replay
from tasks.revise import revise
from tasks.sample import sample
from tasks.sample_others import sample_others
from tasks.second_view import second_view
from tasks.serving import plan
from tasks.validate import limits_of, validate


@flow(name="round", flow_run_name="round {number}", persist_result=False, validate_parameters=False)
def round_flow(number: int) -> None:
    """From the champion as it stands to a decision about its successor."""
    s = current()
    settle(s, number)
    c, folder, name = s.rounds, s.folder / f"round-{number}", f"round {number}"
    changes(f"{name}: changed in the form", round_changes(s.folder, number))
    champion = standing(s.folder, s.policy, number)
    seed = c.seed * 1000 + number

    data, measured = held_out(s, folder, name, make_pairs(s, folder, name, champion, number, seed), seed)
    s.align_alone()
    models = references(s, folder, name, champion, number)
    stage = partial(align, second=models.second, before=models.before)
    trained = step(f"{name}: align", stage, folder / "align", data, c.align, champion.model, models.main, seed, s.trainer)
    candidate = open_checkpoint(trained.folder / "model")
    answers = step(f"{name}: evaluate", evaluate, folder / "evaluate", c.evaluate, candidate, *s.measures())
    for kept in sorted((trained.folder / "epochs").glob("epoch-*")):
        place, model = f"evaluate_{kept.name}", open_checkpoint(kept)
        step(f"{name}: evaluate {kept.name}", evaluate, folder / place, c.evaluate, model, *s.measures())
    results = both_harness(s, folder, name, candidate, champion)
    wins = win_rates(s, folder, name, answers, champion, seed)
    preferences(s, folder, name, measured, candidate, answers, champion, models.main, seed)
    decision = decide(answers, champion.answers, wins[c.promote.against], c.promote, results)
    write_decision(folder / "decision.json", decision)
    markdown(f"{name}: decision", decision.reason)


def make_pairs(s: Session, folder: Path, name: str, champion: Standing, number: int, seed: int) -> Dataset:
    """The round's clean preference pairs by the configured method, or lists; every dataset passes its gate before the next is
    made, and at last gets what the objective needs to know beside."""
    c, method, retries = s.rounds, METHODS[s.rounds.method.name], s.retries
    engine, teacher, model = s.engine(), s.teacher(), champion.model
    tokenizer, made = load_tokenizer(model.path), dict[str, Dataset]()

    def run(place: str, stage: Callable[..., Dataset], *arguments: Any, retries: int = 0) -> Dataset:
        made[place] = step(f"{name}: {place.replace('_', ' ')}", stage, folder / place, *arguments, retries=retries)
        return made[place]

    def gate(data: Dataset, place: str, policy: str | None = model.hash, fresh: bool = False) -> Dataset:
        limits = limits_of(tokenizer, c.validate_.max_tokens, policy)
        if fresh:  # prompts that nobody has held against the evaluation yet
            texts = evaluation_texts(c.evaluate.benchmark, c.validate_.contamination)
            limits = replace(limits, evaluation=texts, engine_tokens=c.engine.max_model_len)
        return run(place, validate, data, c.validate_, limits, s.folder / "data_docs")

    if "prompts" in method.stages:
        gate(run("prompts", take_prompts, c.prompts, number), "validate_prompts", policy=None, fresh=True)
    if "import" in method.stages:
        read = run("import", import_recorded, c.prompts, c.method, model, number)
        refuse_unreadable(read, c.prompts.file, c.validate_.max_quarantined)
    if "sample" in method.stages:
        gate(run("sample", sample, made["validate_prompts"], c.sample, model, engine, seed), "validate_samples")
    if "sample_others" in method.stages:
        writers = [s.writer(source, champion, number, seed) for source in c.method.writers]
        others = run("sample_others", sample_others, made["validate_prompts"], c.sample, writers, model, seed, retries=retries)
        gate(others, "validate_others", policy=None)
    if "revise" in method.stages:
        reviser = s.policy_as_teacher(model) if c.method.name == "self_revision" else teacher
        settings = revise_config(c.revise, c.method.name)
        revised = run("revise", revise, made["validate_samples"], settings, reviser, model, seed, retries=retries)
        gate(revised, "validate_revisions")
    if "judge" in method.stages:
        verdicts = run("judge", judge, made[method.reads[0]], c.judge, s.judge(c.judge), seed, retries=retries)
        gate(verdicts, "validate_verdicts", policy=None)
    asked = plan(c.align, c.method.own, "prompts" in method.stages)
    if asked.from_samples:
        return lists_from_samples(s, asked, run, gate, made, model.hash, number)
    pairs = run(
        "pair", pair, c.method, [made[place] for place in method.reads], model.hash, s.policy.hash, number, seed, alone(c.align)
    )
    refuse_one_sided(pairs.folder, c.align)
    if c.pairs.second_view:
        second = c.pairs.second_view
        pairs = run("second_view", second_view, pairs, second, s.judge(second), seed, retries=retries)
    if c.pairs.replay:
        earlier = range(number - 1, max(0, number - 1 - len(c.pairs.replay)), -1)
        clean = {k: open_dataset(s.folder / f"round-{k}" / "validate_pairs") for k in earlier}
        pairs = run("replay", replay, pairs, clean, c.pairs.replay, model.hash, seed)
        refuse_one_sided(pairs.folder, c.align)
    gate(pairs, "validate_pairs", fresh="import" in method.stages)
    return serve(s, asked, run, gate, made["validate_pairs"], champion, number, seed)

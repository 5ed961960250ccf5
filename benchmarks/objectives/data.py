"""What the objectives are trained on here: one round's pairs and lists, made once by the product's own stages.

Revisions come from a finished run's first round. The same prompts are answered four times by the same policy and judged, for the
objectives that take its own samples.
"""

from dataclasses import dataclass
from pathlib import Path

from data_contracts.config import RoundsConfig
from data_contracts.config_pairs import OnPolicyJudge
from data_contracts.store import Dataset, open_dataset
from models.checkpoint import Checkpoint, load_tokenizer
from models.engine import Engine
from models.journal import Journal
from models.objectives.batch import Need, Objective
from models.objectives.serving import served_by, takes_lists
from models.teacher import Teacher, local_teacher
from tasks.complete import complete
from tasks.judge import judge
from tasks.lists import lists_of_samples
from tasks.pair.stage import pair
from tasks.sample import sample
from tasks.sample_others import checkpoint_writer, sample_others, teacher_writer
from tasks.score_pairs import score_pairs
from tasks.serving import BESIDE, further_writers
from tasks.validate import limits_of, validate

SAMPLES = 4  # of a prompt
SEED = 1


@dataclass(frozen=True)
class World:
    """Where the data lies, and who makes it."""

    out: Path
    run: Path
    config: RoundsConfig
    policy: Checkpoint
    engine: Engine
    teacher: Teacher

    def gate(self, name: str, data: Dataset) -> Dataset:
        limits = limits_of(load_tokenizer(self.policy.path), self.config.validate_.max_tokens)
        return validate(self.out / name, data, self.config.validate_, limits, self.out / "data_docs")


def open_world(out: Path, run: Path, config: RoundsConfig, policy: Checkpoint, teacher: Checkpoint, engine: Engine) -> World:
    out.mkdir(parents=True, exist_ok=True)
    return World(out, run, config, policy, engine, local_teacher(lambda: engine, teacher, Journal(out / "journal.db")))


def data_for(world: World, objective: Objective) -> tuple[str, Dataset]:
    """(revisions, own samples or own lists, and what they are trained on), as a round would make it for the objective."""
    needs, anchored = objective.needs, objective.name == "pairwise_rl"
    if takes_lists(needs):
        verdicts = _verdicts(world)
        name = "lists-anchored" if anchored else "lists"
        made = lists_of_samples(world.out / name, *verdicts, "likelihood", "on_policy_judge", world.policy.hash, 1, anchored)
        return "own lists", world.gate(f"validate_{name}", made)
    if "clair" in served_by(type(objective)):
        kind, pairs = "revisions", open_dataset(world.run / "round-1" / "validate_pairs")
    else:
        method, verdicts = OnPolicyJudge(name="on_policy_judge"), _verdicts(world)
        made = pair(world.out / "pair", method, verdicts, world.policy.hash, world.policy.hash, 1, SEED)
        kind, pairs = "own samples", world.gate("validate_pairs", made)
    if needs & (Need.SCORES | Need.CONFIDENCE | Need.WIN_PROBABILITIES | Need.UNCERTAINTY | Need.TWO_PROMPTS):
        pairs = score_pairs(world.out / f"scored-{kind.split()[0]}", pairs, world.config.judge, world.teacher, SEED)
    if needs & BESIDE:
        pairs = _completed(world, pairs, needs & BESIDE)
    return kind, pairs


def _verdicts(world: World) -> tuple[Dataset, Dataset]:
    """Samples and what the judge says about them."""
    prompts = open_dataset(world.run / "round-1" / "prompts")
    settings = world.config.sample.model_copy(update={"n": SAMPLES})
    samples = world.gate("validate_samples", sample(world.out / "sample", prompts, settings, world.policy, world.engine, SEED))
    return samples, judge(world.out / "judge", samples, world.config.judge, world.teacher, SEED)


def _completed(world: World, pairs: Dataset, needs: Need) -> Dataset:
    name, writers, further = "-".join(sorted(need.name or "" for need in needs)).lower(), further_writers(needs), None
    if writers:
        prompts, temperature = open_dataset(world.run / "round-1" / "prompts"), world.config.sample.temperature
        who = {
            Need.GOLD: teacher_writer(world.teacher, temperature, SEED),
            Need.BASE: checkpoint_writer(world.policy, temperature, world.engine),
        }
        folder = world.out / f"further-{name}"
        further = sample_others(folder, prompts, world.config.sample, [who[need] for need in writers], world.policy, SEED)
    return complete(world.out / f"complete-{name}", pairs, needs, further, writers, world.policy, SEED)

"""How a round's candidate is measured besides its scores: win rates, preference metrics, other benchmarks. Wiring only."""

from pathlib import Path

from data_contracts.store import Dataset, open_dataset
from flows.session import Session
from flows.step import step
from models.checkpoint import Checkpoint
from tasks.harness import harness
from tasks.import_pairs import split_held_out
from tasks.lineage import Standing
from tasks.preference_metrics import Compared, preference_metrics
from tasks.win_rate import recorded, win_rate


def held_out(s: Session, folder: Path, name: str, data: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """What is trained on, and what the preference metrics are measured on: the same, unless a share is held out."""
    config = s.rounds.preference_metrics
    if config is None or not config.held_out:
        return data, data
    train = step(f"{name}: train split", split_held_out, folder / "train", data, config.held_out, seed, "train")
    kept = step(f"{name}: held-out split", split_held_out, folder / "held_out", data, config.held_out, seed, "held_out")
    return train, kept


def win_rates(s: Session, folder: Path, name: str, answers: Dataset, champion: Standing, seed: int) -> dict[str, Dataset]:
    """Against the previous model and everybody else that the configuration names."""
    config, start = s.rounds, open_dataset(s.folder / "round-0" / "evaluate")

    def against(label: str, place: str, other: Dataset) -> Dataset:
        return step(f"{name}: {label}", win_rate, folder / place, answers, other, config.judge, s.judge(config.judge), seed)

    made = {"previous": against("win rate", "win_rate", champion.answers)}
    for other in config.win_rate.against:
        if other == "start":
            made["start"] = against("win rate against the start", "win_rate_start", start)
        else:
            place = s.folder / "round-0" / f"recorded_{other.name}"
            theirs = step(f"start: answers of {other.name}", recorded, place, start, other)
            made[other.name] = against(f"win rate against {other.name}", f"win_rate_{other.name}", theirs)
    return made


def preferences(
    s: Session,
    folder: Path,
    name: str,
    pairs: Dataset,
    candidate: Checkpoint,
    answers: Dataset,
    champion: Standing,
    reference: Checkpoint,
    seed: int,
) -> None:
    config = s.rounds.preference_metrics
    if config is None:
        return
    compared = Compared(candidate, champion.model, s.policy, reference)
    given = (answers, champion.answers, compared, s.rounds.align, config, s.rounds.evaluate.max_tokens, seed, s.engine())
    step(f"{name}: preference metrics", preference_metrics, folder / "preference_metrics", pairs, *given)


def measure_harness(s: Session, folder: Path, name: str, model: Checkpoint) -> Dataset:
    return step(f"{name}: harness", harness, folder / "harness", s.rounds.evaluate.harness, model, s.engine())


def both_harness(
    s: Session, folder: Path, name: str, candidate: Checkpoint, champion: Standing
) -> tuple[Dataset, Dataset] | None:
    """The candidate's results of lm-evaluation-harness and the champion's, if the run asks for any."""
    if s.rounds.evaluate.harness is None:
        return None
    return measure_harness(s, folder, name, candidate), open_dataset(champion.answers.folder.parent / "harness")

"""Which model stands as champion: the latest one that was promoted, unless somebody rolled back since.

`rollbacks.json` in the run folder holds every rollback, with who was champion, why and when. It is the truth; MLflow's alias
follows it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from data_contracts.clock import now
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, load_json, open_dataset, write_json
from models.checkpoint import Checkpoint, open_checkpoint
from tasks.promote import read_decision
from tasks.run_folder import rounds_with


@dataclass(frozen=True)
class Standing:
    round: int  # 0 is the start
    model: Checkpoint
    answers: Dataset


@dataclass(frozen=True)
class Rollback:
    after: int  # the latest decided round at that time: rounds after it start from `to`
    source: int  # the round whose model was champion
    to: int
    reason: str
    when: str


def standing(run: Path, start: Checkpoint, before_round: int) -> Standing:
    """The champion that round `before_round` starts from: a round that was not promoted leaves its predecessor in place."""
    number = champions(run, before_round)[-1]
    if number == 0:
        return Standing(0, start, open_dataset(run / "round-0" / "evaluate"))
    folder = run / f"round-{number}"
    return Standing(number, open_checkpoint(folder / "align" / "model"), open_dataset(folder / "evaluate"))


def champion_folder(run: Path) -> Path | None:
    """Where the champion's checkpoint lies, or the one that a preference file gave; None while the start is what stands."""
    places = (run / "align" / "model", run / f"round-{champions(run)[-1]}" / "align" / "model")
    return next((place for place in places if place.is_dir()), None)


def trained(run: Path, start: Checkpoint, number: int) -> Checkpoint:
    """What round `number`'s training gave, before any momentum carried it on; 0 is the start."""
    if number == 0:
        return start
    folder = run / f"round-{number}" / "align"
    return open_checkpoint(folder / ("trained" if (folder / "trained").exists() else "model"))


def champions(run: Path, before_round: int | None = None) -> list[int]:
    """Rounds whose models were champion one after the other, the present one last, as round `before_round` finds them.

    0 is the start. A rollback takes its target's successors off the list; one that goes forward again puts it on top.
    """
    end = before_round if before_round is not None else last_decided(run) + 1
    found, rollbacks = [0], read_rollbacks(run)
    for number in range(end):
        decision = read_decision(run / f"round-{number}" / "decision.json")
        if decision is not None and decision.promoted:
            found.append(number)
        for rollback in (r for r in rollbacks if r.after == number):
            found = [*found[: found.index(rollback.to)], rollback.to] if rollback.to in found else [*found, rollback.to]
    return found


def round_number(name: str) -> int:
    """2 for "round-2". Raises PlumblineError for anything else."""
    digits = name.removeprefix("round-")
    if name == digits or not digits.isdecimal():
        raise PlumblineError(f"{name!r} is not the name of a round: write round-1, or round-0 for the start")
    return int(digits)


def last_decided(run: Path) -> int:
    """The number of the latest round with a decision, 0 if there is none."""
    return max(rounds_with(run, "decision.json"), default=0)


def read_rollbacks(run: Path) -> list[Rollback]:
    return [Rollback(**entry) for entry in load_json(run / "rollbacks.json", [])]


def roll_back(run: Path, to: int | None, reason: str) -> Rollback | None:
    """Make round `to` (0: the start) champion again, by default the champion before the last promotion, and keep why and when.

    Returns None where that is so already, so that the same command given twice changes nothing.
    Raises PlumblineError if there is nothing to go back to, if `to` never was champion, or if a later round has begun.
    """
    if not reason.strip():
        raise PlumblineError("a rollback needs a reason: say with --reason what was wrong with the champion")
    last, rollbacks = last_decided(run), read_rollbacks(run)
    promoted = champions_ever(run)
    line = champions(run)
    if promoted == [0]:
        raise PlumblineError(f"{run}: no round was promoted, the start is champion, so there is nothing to roll back to")
    if to is None:
        undone = rollbacks and rollbacks[-1].after == last and rollbacks[-1].to == line[-1]
        to = line[-1] if undone or line == [0] else line[-2]
    if to not in promoted:
        names = ", ".join("the start (round-0)" if n == 0 else f"round-{n}" for n in promoted)
        raise PlumblineError(f"{run}: round-{to} never was champion: roll back to one of {names}")
    if to == line[-1]:
        return None
    if (run / f"round-{last + 1}").exists():
        raise PlumblineError(
            f"{run}: round {last + 1} has begun from the present champion: let it finish, or delete {run}/round-{last + 1}, "
            "and roll back then"
        )
    made = Rollback(last, line[-1], to, reason.strip(), now())
    write_json(run / "rollbacks.json", [asdict(r) for r in (*rollbacks, made)])
    return made


def told(run: Path) -> str:
    """Who is champion, and the latest rollback if it still counts."""
    number, rollbacks = champions(run)[-1], read_rollbacks(run)
    name = f"round-{number}" if number else "the start"
    if not rollbacks or rollbacks[-1].to != number:
        return f"champion: {name}"
    last = rollbacks[-1]
    return f"champion: {name}, rolled back from round-{last.source} at {last.when}: {last.reason}"


def champions_ever(run: Path) -> list[int]:
    """The start and every round that was promoted."""
    decisions = {n: read_decision(run / f"round-{n}" / "decision.json") for n in range(1, last_decided(run) + 1)}
    return [0, *(n for n, decision in decisions.items() if decision is not None and decision.promoted)]

"""Replay: of earlier rounds' own pairs the share that their distance is given, and nothing twice."""

from pathlib import Path

from data_contracts.store import Dataset, build
from models.checkpoint import Checkpoint
from tasks.replay import replay
from tests.pairs_dataset import pair_rows


def clean(folder: Path, model: Checkpoint, number: int, rounds: list[int]) -> Dataset:
    rows = [
        row | {"pair_id": f"{number}/{i}", "round": round_, "chosen_policy": f"policy{round_}", "policy": f"policy{round_}"}
        for i, (row, round_) in enumerate(zip(pair_rows(model, len(rounds)), rounds, strict=True))
    ]
    return build(folder, "pairs", {"number": number}, lambda _: (rows, {}))


def test_each_round_gives_its_share_of_its_own_pairs(tmp_path: Path, tiny: Checkpoint) -> None:
    new = clean(tmp_path / "new", tiny, 3, [3] * 4)
    earlier = {2: clean(tmp_path / "2", tiny, 2, [2] * 10 + [1] * 5), 1: clean(tmp_path / "1", tiny, 1, [1] * 20)}
    made = replay(tmp_path / "replay", new, earlier, (0.3, 0.15), "policy2", 0)
    rows = made.records()
    assert [row["round"] for row in rows] == [3] * 4 + [2] * 3 + [1] * 3
    assert made.facts == {"new": 4, "round_2": 3, "round_1": 3}
    assert all(row["pair_id"].startswith("2/") for row in rows[4:7])  # what round 2 had replayed itself stays there
    assert [row["on_policy"] for row in rows[4:]] == [True] * 3 + [False] * 3
    assert [p["kind"] for p in made.manifest["parents"]] == ["pairs"] * 3


def test_the_lot_is_the_seeds_and_the_first_round_has_nothing_to_replay(tmp_path: Path, tiny: Checkpoint) -> None:
    new, earlier = clean(tmp_path / "new", tiny, 2, [2]), {1: clean(tmp_path / "1", tiny, 1, [1] * 40)}
    drawn = [
        [row["pair_id"] for row in replay(tmp_path / f"r{i}", new, earlier, (0.5,), "p", seed).records()]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 21
    assert replay(tmp_path / "alone", new, {}, (0.5,), "p", 0).rows == 1

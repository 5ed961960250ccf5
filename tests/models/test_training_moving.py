"""References that move during training, and the order of a curriculum."""

import pytest
import torch
from safetensors.torch import load_file

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from models.checkpoint import load_model, open_checkpoint
from models.training import snapshots
from models.training.gradient import Given
from models.training.inputs import read_inputs
from models.training.jobs import align, fresh_accelerator
from models.training.logps import all_tree_logps
from models.training.moving import MovingReference
from models.training.progress import silent
from models.training.schedule import schedule
from tests.models.test_training_loop import run
from tests.models.test_training_snapshots import Stop, job, stop_after, weights
from tests.pairs_dataset import full_rows, pairs_dataset


@pytest.fixture(scope="module")
def pairs(tiny, tmp_path_factory):
    return pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 24, rows=full_rows(tiny, 24))


def settings(**options):
    return AlignConfig.model_validate({"objective": {"name": "dpo"}, "batch_size": 4} | options)


def test_a_batch_sees_the_numbers_of_the_weights_it_moved_to(tiny, pairs):
    """Against a blend of the state dicts and a forward of its own; before the first move the given numbers stand."""
    from models.objectives.batch import Need

    start, policy = (load_model(tiny.path, torch.float32).eval() for _ in range(2))
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    inputs = read_inputs(pairs.folder, Need.GOLD)
    examples = inputs.examples
    gold = inputs.aux["gold"]
    refs, tokens = all_tree_logps(start, examples, 10**6)
    given = Given(examples, refs[None], {}, {"token_ref": tokens}, {"gold": (gold, all_tree_logps(start, gold, 10**6)[0])})
    moving = MovingReference(load_model(tiny.path, torch.float32).eval(), {2: 0.6}, 10**6, fresh_accelerator("float32"))
    assert moving.before(1, policy, given, [3, 5]) is given
    seen = moving.before(2, policy, given, [3, 5])

    blend = load_model(tiny.path, torch.float32).eval()
    trained = policy.state_dict()
    blend.load_state_dict({name: 0.4 * old + 0.6 * trained[name] for name, old in start.state_dict().items()})
    expected, by_token = all_tree_logps(blend, [examples[3], examples[5]], 10**6)
    torch.testing.assert_close(seen.ref[[3, 5]], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen.by_token["token_ref"][5], by_token[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        seen.aux["gold"][1][[3, 5]], all_tree_logps(blend, [gold[3], gold[5]], 10**6)[0], rtol=1e-4, atol=1e-4
    )
    assert (seen.ref[[3, 5]] - given.ref[[3, 5]]).abs().min() > 1e-2 and torch.equal(seen.ref[4], given.ref[4])
    assert torch.equal(given.ref, refs)  # what was given is not written over


def test_a_reference_that_follows_lets_the_policy_go_further(tiny, pairs, tmp_path):
    """ipo_sum stops at its target from the reference: with one that follows, the target moves on."""
    options = {"name": "ipo_sum", "epochs": 10, "learning_rate": 3e-3, "schedule": "constant"}
    fixed = run(pairs, tmp_path / "fixed", tiny, **options)["steps"][-1]
    moved = run(pairs, tmp_path / "moved", tiny, reference_kind="ema", ema={"rate": 1.0, "every": 6}, **options)["steps"][-1]
    assert moved["margin"] > fixed["margin"] + 1  # both to the reference as it was at the start


def test_a_reference_moves_from_where_it_is_and_not_from_the_policy(tiny, pairs, tmp_path):
    """One that hardly moves gives the losses of one that does not, also where the policy starts elsewhere."""
    run(pairs, tmp_path / "one", tiny, epochs=4, learning_rate=2e-3)
    policy = open_checkpoint(tmp_path / "one" / "model")
    still = run(pairs, tmp_path / "still", policy, tiny, name="dpo")["steps"]
    slow = run(pairs, tmp_path / "slow", policy, tiny, name="dpo", reference_kind="ema", ema={"rate": 1e-6, "every": 1})["steps"]
    assert [row["loss"] for row in slow] == pytest.approx([row["loss"] for row in still], abs=1e-4)
    assert still[0]["loss"] < 0.6  # the policy is not at the reference


def test_a_moving_reference_survives_a_kill(tiny, pairs, tmp_path, monkeypatch):
    options = {"name": "dpo", "epochs": 2, "reference": "ema", "ema": {"rate": 0.6, "every": 2}}
    align(job(pairs, tiny, tmp_path / "whole", **options), silent)
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", 0.0)
    killed = job(pairs, tiny, tmp_path / "killed", **options)
    with pytest.raises(Stop):
        align(killed, stop_after(4))
    align(killed, silent)
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    other = align(job(pairs, tiny, tmp_path / "other", **(options | {"reference": "previous"})), silent)
    assert other and any(
        not torch.equal(whole[k], v) for k, v in load_file(tmp_path / "other/out/model/model.safetensors").items()
    )


def test_a_curriculum_trains_every_pair_easy_first_and_moves_the_reference_between_stages():
    gaps = [0.1, 3.0, 0.2, 2.0, 1.0, -1.0]
    batches, moves = schedule(6, settings(batch_size=2, curriculum={"by": "margin", "stages": 3}), 0, gaps)
    assert [set(b) for b in batches] == [{1, 3}, {4, 2}, {0, 5}] and moves == {1: 1.0, 2: 1.0}
    plain, none = schedule(6, settings(batch_size=2), 0, gaps)
    assert sorted(i for b in plain for i in b) == list(range(6)) and not none
    _, soft = schedule(40, settings(reference="ema", ema={"rate": 0.5, "every": 4}), 0, [])
    assert soft == {4: 0.5, 8: 0.5}
    with pytest.raises(PlumblineError, match="needs the gap of every pair"):
        schedule(3, settings(curriculum={"stages": 3}), 0, [1.0, float("nan"), 2.0])


@pytest.mark.parametrize("by", ["margin", "reference_gap"])
def test_a_curriculum_trains(tiny, pairs, tmp_path, by):
    steps = run(pairs, tmp_path / "out", tiny, name="dpo", epochs=4, learning_rate=2e-3, curriculum={"by": by})["steps"]
    losses = [row["loss"] for row in steps]
    assert len(losses) == 12 and losses[11] != pytest.approx(0.6931, abs=1e-3)
    for start in (0, 4, 8):  # each stage begins at its own reference, where the margin is 0
        assert losses[start] == pytest.approx(0.6931, abs=1e-3)


def test_two_references_are_both_used(tiny, pairs, tmp_path):
    run(pairs, tmp_path / "one", tiny, epochs=4, learning_rate=2e-3)
    other = open_checkpoint(tmp_path / "one" / "model")
    found = [
        run(pairs, tmp_path / name, tiny, name="mrpo", second=second)["steps"][0]["loss"]
        for name, second in (("same", tiny), ("two", other))
    ]
    assert found[0] == pytest.approx(0.6931, abs=1e-3) and abs(found[1] - found[0]) > 1e-3  # equal references are dpo at h = 0

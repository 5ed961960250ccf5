"""The align stage: what it refuses before training, what it leaves behind, and what it says about it."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import open_dataset, sharing
from models.checkpoint import load_tokenizer, open_checkpoint
from tasks.align import align, final_means, refuse, verdict
from tests.pairs_dataset import pair_rows, pairs_dataset


def config(name="apo_zero", **settings):
    return AlignConfig.model_validate(
        {"objective": {"name": name}, "learning_rate": 2e-3, "epochs": 6, "batch_size": 8} | settings
    )


class NoTrainer:
    def run(self, job, progress):
        raise AssertionError("training was started")


def test_a_checkpoint_and_its_record_are_left_behind_and_not_made_twice(tiny, trainer, tmp_path):
    pairs, seen = pairs_dataset(tmp_path / "pairs", tiny, 24), []
    made = align(tmp_path / "align", pairs, config(), tiny, tiny, 0, trainer, lambda *at: seen.append(at))
    assert made.kind == "steps" and made.rows == 18 == made.facts["steps"] and seen[-1][:2] == (18, 18) and seen[-1][2] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [".pairs.reference", "align", "pairs"]  # nothing kept for a next attempt
    model = open_checkpoint(tmp_path / "align" / "model")
    assert model.hash == made.facts["model_hash"] != tiny.hash
    assert load_tokenizer(model.path).chat_template
    assert made.manifest["models"] == {"policy": tiny.hash, "reference": tiny.hash}
    assert config().dtype == "auto" and made.manifest["config"]["dtype"] == "float32"  # what was chosen, and not that it was open
    assert made.facts["objective"] == "apo_zero" and made.facts["effective_batch"] == 8 and made.facts["tokens_per_second"] > 0
    assert made.facts["final_chosen_logratio"] > 0 > made.facts["final_rejected_logratio"]
    assert made.facts["verdict"] == "chosen answers became more likely, rejected less likely"
    again = align(tmp_path / "align", pairs, config(), tiny, tiny, 0, NoTrainer())
    assert again == open_dataset(tmp_path / "align")
    with pytest.raises(PlumblineError, match="other inputs or settings"):
        align(tmp_path / "align", pairs, config(), tiny, tiny, 1, NoTrainer())


def test_what_a_killed_attempt_leaves_is_taken_up_by_the_same_training_and_by_no_other(tiny, student, tmp_path):
    """Snapshots, and the models of epochs: those of another training would be copied beside this one's result."""

    class Killed:
        def run(self, job, progress):
            raise PlumblineError(job["resume"])

    def resumed(*given, **more):
        with pytest.raises(PlumblineError) as stopped:
            align(tmp_path / "align", *given, Killed(), **more)
        return str(stopped.value)

    pairs, fewer = (pairs_dataset(tmp_path / str(count), tiny, count) for count in (24, 23))
    first = resumed(pairs, config(), tiny, tiny, 0)
    assert resumed(pairs, config(processes=2), tiny, tiny, 0) == first  # who does the work decides nothing
    others = [(pairs, config(), tiny, tiny, 1), (pairs, config(epochs=2), tiny, tiny, 0), (fewer, config(), tiny, tiny, 0)]
    assert len({first, *(resumed(*given) for given in others), resumed(pairs, config(), tiny, tiny, 0, before=student)}) == 5


def test_empty_answers_are_refused_before_training(tiny, tmp_path):
    rows = pair_rows(tiny, 4)
    rows[2]["rejected_ids"] = []
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 4, rows=rows)
    with pytest.raises(PlumblineError, match=r"pair 'p2' .* no rejected tokens"):
        align(tmp_path / "align", pairs, config(), tiny, tiny, 0, NoTrainer())
    assert not (tmp_path / "align").exists()


def test_an_objective_the_data_cannot_serve_is_refused_before_training(tiny, tmp_path):
    rows = [row | {"prompt_ids": [2, 5, 3]} for row in pair_rows(tiny, 4)]
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 4, rows=rows)
    refuse(pairs, config("apo_zero"), tiny)
    with pytest.raises(PlumblineError, match="kto needs at least two different prompts"):
        align(tmp_path / "align", pairs, config("kto"), tiny, tiny, 0, NoTrainer())


def test_a_paired_objective_refuses_single_answers_and_an_unpaired_one_takes_them(tiny, trainer, tmp_path):
    rows = pair_rows(tiny, 12)
    for row in rows[:5]:
        row |= {"chosen": None, "chosen_ids": None, "chosen_stopped": None}
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 12, rows=rows)
    with pytest.raises(PlumblineError, match=r"5 of 12 rows .* are one-sided .* objective apo_zero compares both sides: leave"):
        align(tmp_path / "align", pairs, config(), tiny, tiny, 0, NoTrainer())
    made = align(tmp_path / "align", pairs, config("apo_zero_unpaired"), tiny, tiny, 0, trainer)
    assert made.facts["final_rejected_logratio"] < 0 < made.facts["final_chosen_logratio"]
    bad = pairs_dataset(tmp_path / "bad", tiny, 5, rows=rows[:5])
    alone = align(tmp_path / "alone", bad, config("bco"), tiny, tiny, 0, trainer)
    assert alone.facts["final_chosen_logratio"] is alone.facts["final_accuracy"] is None
    assert alone.facts["verdict"] == "rejected answers became less likely"


def test_other_tokenizers_ids_and_overlong_pairs_are_refused_before_training(tiny, tmp_path):
    for column, ids, words in (
        ("chosen_ids", [10**6], "another tokenizer"),
        ("prompt_ids", [5] * 10**5, "lower validate.max_tokens"),
    ):
        rows = pair_rows(tiny, 2)
        rows[1][column] = ids
        with pytest.raises(PlumblineError, match=f"pair 'p1' .*{words}"):
            refuse(pairs_dataset(tmp_path / column, tiny, 2, rows=rows), config(), tiny)


@pytest.mark.parametrize(
    "chosen,rejected,objective,words",
    [
        (2.0, -3.0, "apo_zero", "chosen answers became more likely, rejected less likely"),
        (-2.0, -9.0, "dpo", "chosen answers became less likely, rejected ones even more so: consider apo_zero or sft"),
        (-2.0, 1.0, "dpo", "chosen answers became less likely: consider apo_zero or sft"),
        (-2.0, -9.0, "apo_down", "chosen answers became less likely, rejected ones even more so, as apo_down intends"),
        (3.0, 1.0, "sft", "chosen answers became more likely, rejected too but less"),
        (1.0, 3.0, "sft", "chosen answers became more likely, but rejected became likelier still: consider apo_zero or dpo"),
        (0.0, -3.0, "dpo", "chosen answers stayed as likely, rejected less likely"),
        (3.0, 0.0, "apo_zero", "chosen answers became more likely, rejected stayed as likely"),
        (-2.0, 1.0, "apo_zero", "chosen answers became less likely: consider sft or a lower align.learning_rate"),
        (
            1.0,
            3.0,
            "dpo",
            "chosen answers became more likely, but rejected became likelier still: consider apo_zero or a lower "
            "align.learning_rate",
        ),
        (0.05, -0.05, "dpo", "hardly anything moved: raise align.learning_rate or align.epochs"),
    ],
)
def test_the_verdict_says_in_words_what_happened(chosen, rejected, objective, words):
    assert verdict({"chosen_logratio": chosen, "rejected_logratio": rejected}, objective) == words


def test_a_loss_that_sat_where_it_began_is_the_verdict():
    moved = {"chosen_logratio": 2.0, "rejected_logratio": -3.0}
    assert verdict(moved, "dpo", [math.log(2)] * 20).startswith("the loss sat at 0.6931, where it began, so nothing was learnt")
    assert verdict(moved, "apo_zero", [1.0] * 20).startswith("the loss sat at 1, where it began")
    assert verdict(moved, "dpo", [math.log(2)] * 19) == verdict(moved, "dpo", [0.7, *[0.6] * 20]) == verdict(moved, "dpo")


def test_who_does_the_work_decides_nothing_about_what_is_made(tiny, trainer, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 8)
    made = align(tmp_path / "align", pairs, config(epochs=1, batch_size=64), tiny, tiny, 0, trainer)
    others = config(epochs=1, batch_size=64, processes=2, sharded=True)
    assert align(tmp_path / "align", pairs, others, tiny, tiny, 0, NoTrainer()) == made
    assert made.facts["effective_batch"] == 8  # there are no more pairs


@pytest.mark.parametrize(
    "chosen,rejected,words",
    [
        (2.0, None, "chosen answers became more likely"),
        (-2.0, None, "chosen answers became less likely: consider apo_zero or sft"),
        (None, -2.0, "rejected answers became less likely"),
        (None, 2.0, "rejected answers became more likely: look at the data"),
        (0.01, None, "hardly anything moved: raise align.learning_rate or align.epochs"),
    ],
)
def test_of_one_side_the_verdict_is_about_that_side(chosen, rejected, words):
    assert verdict({"chosen_logratio": chosen, "rejected_logratio": rejected}, "kto") == words


def test_final_means_are_over_the_last_tenth():
    names = ("loss", "chosen_logratio", "rejected_logratio", "margin", "accuracy", "gradient_norm")
    steps = [dict.fromkeys(names, float(i)) for i in range(30)]
    assert final_means(steps)["loss"] == 28.0 and final_means(steps[:4])["margin"] == 3.0


def test_each_epochs_model_is_kept_if_asked_for(tiny, trainer, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 24)
    constant = {"epochs": 2, "schedule": "constant", "warmup": 0.0}
    whole = align(tmp_path / "all", pairs, config(checkpoints="epochs", **constant), tiny, tiny, 0, trainer)
    first = align(tmp_path / "one", pairs, config(**constant | {"epochs": 1}), tiny, tiny, 0, trainer)
    assert [p.name for p in (whole.folder / "epochs").iterdir()] == ["epoch-1"]
    kept = open_checkpoint(whole.folder / "epochs" / "epoch-1")
    assert kept.hash == open_checkpoint(first.folder / "model").hash  # training went on from it unchanged
    assert kept.hash != open_checkpoint(whole.folder / "model").hash
    last = align(tmp_path / "last", pairs, config(**constant), tiny, tiny, 0, trainer)
    assert open_checkpoint(last.folder / "model").hash == open_checkpoint(whole.folder / "model").hash
    assert not (last.folder / "epochs").exists()


def test_trainings_that_share_use_one_reference(tiny, trainer, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 8)
    with sharing(tmp_path / "shared"):
        align(tmp_path / "apo", pairs, config(epochs=1), tiny, tiny, 0, trainer)
        (file,) = (tmp_path / "shared" / "references").iterdir()
        align(tmp_path / "dpo", pairs, config("dpo", epochs=1), tiny, tiny, 0, trainer)
        table = pq.read_table(file)  # were it computed again, numbers that cannot be would go unnoticed
        wrong = pa.array([[x + 5 for x in row] for row in table["logps"].to_pylist()], table["logps"].type)
        pq.write_table(table.set_column(1, "logps", wrong).replace_schema_metadata(table.schema.metadata), file)
        with pytest.raises(PlumblineError, match="reference's numbers belong to other data"):
            align(tmp_path / "hinge", pairs, config("hinge", epochs=1), tiny, tiny, 0, trainer)


def test_apo_auto_says_how_often_it_raised_the_chosen_answer(tiny, trainer, tmp_path):
    """Rejected answers, the policy's own, score 0: of 16 pairs the 4 whose chosen one scores below take the other anchor."""
    rows = [row | {"chosen_score": -1.0 if i < 4 else 1.0, "rejected_score": 0.0} for i, row in enumerate(pair_rows(tiny, 16))]
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 16, rows=rows)
    made = align(tmp_path / "align", pairs, config("apo_auto", epochs=2), tiny, tiny, 0, trainer)
    assert made.facts["apo_auto_zero_share"] == pytest.approx(0.75) and made.facts["final_policy_score"] == 0.0
    assert made.facts["apo_auto"].startswith("apo_auto raised the chosen answer (zero) in 75% of the pairs it saw")
    assert all(0 <= step["zero_share"] <= 1 for step in made.records())
    bare = pairs_dataset(tmp_path / "bare", tiny, 4)
    with pytest.raises(PlumblineError, match="apo_auto needs a judge's score for each answer"):
        align(tmp_path / "refused", bare, config("apo_auto"), tiny, tiny, 0, NoTrainer())
    plain = align(tmp_path / "plain", bare, config("dpo", epochs=1), tiny, tiny, 0, trainer)
    assert "apo_auto" not in plain.facts and all(step["zero_share"] is None for step in plain.records())

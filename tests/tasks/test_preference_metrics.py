"""What a candidate is measured by besides its scores, on the embedded student and a copy of it that moved."""

import pytest
import torch

from data_contracts.config_align import AlignConfig
from data_contracts.config_evaluate import PreferenceMetricsConfig
from data_contracts.store import build
from models.chat import encode_prompt
from models.checkpoint import load_model, load_tokenizer, open_checkpoint
from models.engine import Completion
from models.training.data import Example
from models.training.logps import all_logps
from tasks.preference_metrics import Compared, _pairs, _ranked, preference_metrics
from tasks.rank import rank
from tests.pairs_dataset import pair_rows, pairs_dataset

DPO = AlignConfig.model_validate({"objective": {"name": "dpo", "beta": 0.5}})
CONFIG = PreferenceMetricsConfig(pairs=8, prompts=4, samples=3)


def answers(folder, tokenizer, ids=(5, 6, 7, 8)):
    """Three rows that ask two questions."""
    rows = [
        {
            "question_id": f"free-form/{i}",
            "split": "free-form",
            "benchmark": "b",
            "question": f"q{i // 2}",
            "prompt": f"Say {i // 2}",
            "prompt_ids": encode_prompt(tokenizer, [{"role": "user", "content": f"Say {i // 2}"}]),
            "response": "",
            "token_ids": list(ids),
            "stopped": i == 0,
            "parsed": None,
            "score": 0.0,
        }
        for i in range(3)
    ]
    return build(folder, "answers", {"ids": list(ids)}, lambda _: (rows, {}))


@pytest.fixture(scope="module")
def moved(student, tmp_path_factory):
    """The student with a little noise on its weights."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(student.path, folder, dirs_exist_ok=True)
    torch.manual_seed(0)
    path = folder / "model.safetensors"
    weights = {name: w + 0.05 * w.float().std() * torch.randn_like(w) for name, w in load_file(path).items()}
    path.chmod(0o644)
    save_file(weights, path, metadata={"format": "pt"})
    return open_checkpoint(folder)


def measure(folder, student, engine, candidate, pairs, align=DPO, config=CONFIG, others=None):
    tokenizer = load_tokenizer(student.path)
    after, before = answers(folder / "after", tokenizer, [1, 2, 3, 4] * 3), answers(folder / "before", tokenizer)
    models = Compared(candidate, *(others or [student] * 3))
    return preference_metrics(folder / "out", pairs, after, before, models, align, config, 8, 0, engine)


def test_a_model_that_did_not_move_is_nowhere_from_itself(student, engine, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", student, 12)
    facts = measure(tmp_path, student, engine, student, pairs).facts
    assert facts["kl"]["previous"]["per_token"] == facts["kl"]["start"]["per_token"] == 0
    assert facts["train"]["policy"] == facts["train"]["reference"] and facts["train"]["margin"] == 0.5
    assert facts["answers"]["repetition"] == pytest.approx(1 - 4 / 9) and facts["answers_before"]["repetition"] == 0
    assert facts["answers"]["tokens"] == 12 and facts["answers"]["stop_rate"] == pytest.approx(1 / 3)
    assert 0 < facts["diversity"]["distinct_1"] <= 1 and 0 <= facts["diversity"]["self_bleu"] <= 1


def test_a_model_that_moved_is_away_from_its_start_and_ranked_as_the_trainer_ranks_it(student, moved, engine, trainer, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", student, 12)
    made = measure(tmp_path, student, engine, moved, pairs)
    rows, ranked = made.records(), {row["pair_id"]: row for row in rank(tmp_path / "rank", pairs, moved, trainer).records()}
    assert made.rows == 8 and made.facts["kl"]["start"]["per_token"] > 0.001
    for row in rows:
        assert row["policy_chosen"] == pytest.approx(ranked[row["pair_id"]]["chosen_logp"], abs=1e-2)
        assert row["policy_chosen"] != row["reference_chosen"]
    assert "calibration" not in made.facts["train"] and "reach" in made.facts["train"]  # nobody judged these pairs


class Plain:
    """What the metrics ask of an engine, by plain forwards; every answer is the same."""

    max_model_len = 512

    def use(self, checkpoint):
        self.model = load_model(checkpoint.path, torch.float32).eval()

    def generate(self, prompts, *_):
        return [Completion("one two", [5, 6, 7, 8], "length") for _ in prompts]

    def score(self, prompts, written, _):
        examples = [Example(str(i), list(p), (list(a),)) for i, (p, a) in enumerate(zip(prompts, written, strict=True))]
        return all_logps(self.model, examples, 4096)[:, 0].tolist()


def test_previous_model_start_and_reference_are_told_apart(student, teacher, moved, tiny, tmp_path):
    """From the second round on they are other models."""
    pairs, plain, tokenizer = pairs_dataset(tmp_path / "pairs", student, 8), Plain(), load_tokenizer(student.path)
    made = measure(tmp_path, student, plain, moved, pairs, others=[student, teacher, tiny])
    asked = [encode_prompt(tokenizer, [{"role": "user", "content": f"Say {i}"}]) for i in range(2)]
    given = {row["pair_id"]: row for row in pairs.records()}
    row = made.records()[0]
    pair = given[row["pair_id"]]

    def under(model):
        plain.use(model)
        *said, chosen = plain.score([*asked, pair["prompt_ids"]], [[5, 6, 7, 8]] * 2 + [pair["chosen_ids"]], None)
        return sum(said) / 8, chosen

    (own, chosen), (previous, _), (start, _), (_, reference) = map(under, (moved, student, teacher, tiny))
    found = [made.facts["kl"][name]["per_token"] for name in ("previous", "start")]
    assert found == pytest.approx([own - previous, own - start], abs=1e-4) and abs(found[0] - found[1]) > 0.1
    assert (row["policy_chosen"], row["reference_chosen"]) == pytest.approx((chosen, reference), abs=1e-3)
    assert abs(chosen - reference) > 0.1


def test_judged_pairs_show_calibration_and_held_out_pairs_are_called_so(student, moved, engine, tmp_path):
    plain = pairs_dataset(tmp_path / "plain", student, 12)
    rows = [row | {"win_probability": 0.8} for row in plain.records()]
    judged = build(tmp_path / "pairs", "pairs", {"judged": True}, lambda _: (rows, {}))
    facts = measure(tmp_path, student, engine, moved, judged, config=CONFIG.model_copy(update={"held_out": 0.5})).facts
    assert "train" not in facts and 0 <= facts["held_out"]["calibration"]["error"] <= 1
    assert 0 <= facts["held_out"]["reach"]["idealized_accuracy"] <= 1


@pytest.mark.parametrize("name,scale", [("dpo", 0.1), ("ipo_sum", 0.1), ("rso_sigmoid", 0.05), ("apo_zero", 0.1)])
def test_what_an_objective_cannot_flip_is_told_whatever_its_scale_is_called(name, scale):
    row = {"policy_chosen": -1.0, "policy_rejected": -2.0, "reference_chosen": -300.0, "reference_rejected": -1.0}
    align = AlignConfig.model_validate({"objective": {"name": name}})
    found = _ranked([row | {"chosen_tokens": 1, "rejected_tokens": 1, "win_probability": 0.8}], align, ["a"])
    assert found["reach"]["cannot_flip"] == 1 and found["reach"]["beta"] == scale
    assert ("calibration" in found) == (name != "ipo_sum")


def test_an_objective_without_reference_is_ranked_only(student, engine, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", student, 12)
    align = AlignConfig.model_validate({"objective": {"name": "simpo"}})
    facts = measure(tmp_path, student, engine, student, pairs, align).facts["train"]
    assert sorted(facts) == ["pairs", "policy", "reference"]


def test_only_whole_pairs_are_measured(student, tmp_path):
    rows = pair_rows(student, 4)
    rows[1]["chosen_ids"] = rows[2]["rejected_ids"] = None
    found = _pairs(pairs_dataset(tmp_path / "pairs", student, 4, rows=rows), 8, 512)
    assert {row["pair_id"] for row in found} == {"p0", "p3"}

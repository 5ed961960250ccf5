"""Preferences that run in a circle defeat every reward, and not an embedding with a skew-symmetric score."""

import math

import pytest
import torch

from data_contracts.config_judge import JudgeConfig
from data_contracts.config_preference import PreferenceConfig
from data_contracts.errors import PlumblineError
from models.chat import encode_answer, encode_prompt
from models.checkpoint import load_model, load_tokenizer, open_checkpoint
from models.preference.model import PreferenceModel, embed
from models.preference.store import load, open_preference, save
from models.preference.train import fit, probabilities
from models.teacher import Teacher
from models.training.data import Example
from tasks.comparison import Comparison
from tasks.judge import compare, judge_name, judge_slice

BEATS = [("paper", "rock"), ("scissors", "paper"), ("rock", "scissors")]
SETTINGS = {"learning_rate": 3e-3, "epochs": 25, "batch_size": 12}
NOBODY = Teacher("nobody", lambda *_: [])


def question(n):
    return [{"role": "user", "content": f"Round {n}: what do you play?"}]


def pairs(tokenizer, rounds):
    texts = {text: encode_answer(tokenizer, text) for text in ("rock", "paper", "scissors")}
    prompts = {n: encode_prompt(tokenizer, question(n)) for n in rounds}
    return [Example(f"{n}/{winner}", prompts[n], (texts[winner], texts[loser])) for n in rounds for winner, loser in BEATS]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Both kinds, trained on the same circles."""
    tokenizer, made = load_tokenizer(tiny.path), {}
    for kind in ("bt", "gpm"):
        config = PreferenceConfig(kind=kind, **SETTINGS)
        torch.manual_seed(0)
        model = PreferenceModel(load_model(tiny.path, torch.float32).eval(), kind, config.blocks, config.temperature)
        losses = fit(model, pairs(tokenizer, range(12)), config)
        folder = tmp_path_factory.mktemp(kind)
        save(model, tiny.path, folder)
        made[kind] = (model, losses, folder)
    return made


def test_a_circle_is_learnt_by_embeddings_and_by_no_reward(trained, tiny):
    held_out = pairs(load_tokenizer(tiny.path), range(12, 24))
    right = {kind: [p > 0.5 for p in probabilities(model, held_out)] for kind, (model, _, _) in trained.items()}
    assert sum(right["gpm"]) == len(held_out)
    assert sum(right["bt"]) <= 2 / 3 * len(held_out)  # one order of three things keeps at most two of a circle's arrows
    assert trained["gpm"][1][-1] < 0.1 and trained["bt"][1][-1] > 0.6  # a reward does best by calling it even: ln 2 = 0.69


def test_what_has_an_order_is_learnt_by_a_reward_too(tiny):
    tokenizer, config = load_tokenizer(tiny.path), PreferenceConfig(kind="bt", **SETTINGS)
    model = PreferenceModel(load_model(tiny.path, torch.float32).eval(), "bt", 1, 1.0)
    ordered = [pair for pair in pairs(tokenizer, range(12)) if not pair.id.endswith("rock")]
    fit(model, ordered, config)
    assert min(probabilities(model, ordered)) > 0.9


def test_the_score_is_skew_symmetric_and_padding_changes_nothing(trained, tiny):
    tokenizer = load_tokenizer(tiny.path)
    sequences = [
        encode_prompt(tokenizer, question(1)) + encode_answer(tokenizer, text) for text in ("rock", "a much longer answer")
    ]
    for model, _, _ in trained.values():
        a, b = embed(model, sequences)
        torch.testing.assert_close(model.score(a[None], b[None]), -model.score(b[None], a[None]))
        assert model.score(a[None], a[None]).item() == pytest.approx(0.0, abs=1e-6)
        alone = [embed(model, [s])[0] for s in sequences]
        torch.testing.assert_close(torch.stack(alone), torch.stack([a, b]), atol=1e-5, rtol=1e-4)


def test_the_score_of_unit_embeddings_by_hand(tiny):
    model = PreferenceModel(load_model(tiny.path, torch.float32), "gpm", 2, 0.1)
    a, b = torch.tensor([[0.6, 0.0, 0.0, 0.8]]), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    assert model.score(a, b).item() == pytest.approx((0.6 * 1.0 - 0.0 + 0.0 * 0.0 - 0.8 * 0.0) / 0.1)


@pytest.mark.parametrize("kind", ["bt", "gpm"])
def test_a_saved_model_is_the_same_and_judges(trained, kind):
    model, _, folder = trained[kind]
    saved = open_preference(folder)
    held_out = pairs(load_tokenizer(folder), range(3))
    assert probabilities(load(saved), held_out) == pytest.approx(probabilities(model, held_out), abs=1e-6)
    config = JudgeConfig(kind="preference_model", model=str(folder))
    comparisons = [Comparison(question(20), *pair) for pair in BEATS]
    verdicts = compare(comparisons, config, NOBODY, 0)
    swapped = compare([c.swap() for c in comparisons], config, NOBODY, 0)
    assert [v.win_probability for v in verdicts] == pytest.approx([1 - v.win_probability for v in swapped])
    if kind == "gpm":
        assert [v.outcome for v in verdicts] == ["first"] * 3 and verdicts[0].first_score is None
    else:
        first = verdicts[0]
        assert first.win_probability == pytest.approx(1 / (1 + math.exp(first.second_score - first.first_score)), abs=1e-5)
    assert judge_name(config, NOBODY) == f"{kind}/{saved.checkpoint.hash}"
    assert judge_slice(config, 0)["preference_model"] == saved.name


def test_another_head_is_another_model_and_no_head_is_none(trained, tiny):
    hashes = {open_preference(folder).checkpoint.hash for _, _, folder in trained.values()}
    assert len(hashes) == 2 and open_checkpoint(tiny.path).hash not in hashes
    with pytest.raises(PlumblineError, match="holds no preference model"):
        open_preference(tiny.path)

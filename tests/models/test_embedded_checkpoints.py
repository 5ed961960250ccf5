"""The embedded models: training code, export, the small build, and the checkpoints that are shipped."""

import hashlib
import json
import random

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.embedded.build import build
from models.embedded.checkpoint import load
from models.embedded.curriculum import noisy_answer, task_example
from models.embedded.datafiles import question_tasks
from models.embedded.inference import generate, log_likelihoods
from models.embedded.measure import answered
from models.embedded.stages import run
from models.embedded.tokenizer import encode_examples
from models.embedded.train import Recipe, buckets, collate, loss, orthogonal, train
from models.embedded.world import check, parse_revision, render, revision_prompt, sample_task
from tests.models.embedded_world import HERE, STUDENT, TEACHER
from tests.tiny import tiny


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices this small gain nothing from a second thread, and on a busy machine waiting for it takes minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)  # which building sets for its whole process


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(STUDENT)


@pytest.fixture(scope="module")
def card():
    return json.loads((HERE / "card.json").read_text())


def prompts(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [sample_task(rng, "test").prompt for _ in range(n)]


def logit_gap(folder, tokenizer, changed: float = 0.0) -> float:
    """Largest difference of logits between transformers and the lean model, one of its weights moved by `changed`."""
    lean, hf = load(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    lean.model.layers[0].self_attn.q_proj.weight.data[0, 0] += changed
    [(ids, answer)] = encode_examples(tokenizer, [(revision_prompt(prompts(1)[0], "Wolf."), "I think that the wolf is it.")])
    with torch.no_grad():
        batch = torch.tensor([ids + answer])
        return (hf(batch).logits - lean(batch)).abs().max().item()


def test_exported_model_has_the_logits_of_the_lean_one(tokenizer, tmp_path):
    folder = tiny(tmp_path)
    assert logit_gap(folder, tokenizer) < 1e-5
    assert logit_gap(STUDENT, tokenizer) < 1e-4
    assert logit_gap(folder, tokenizer, changed=0.5) > 1e-3  # control: one weight of thousands is noticed


def test_lean_and_transformers_generate_the_same(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(STUDENT).eval()
    for prompt, answer in zip(prompts(5), generate(load(STUDENT), tokenizer, prompts(5)), strict=True):
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, max_new_tokens=48, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(out, skip_special_tokens=True) == answer


def test_likelihoods_do_not_depend_on_the_batch(tokenizer, tmp_path):
    model, rng = load(tiny(tmp_path)), random.Random(1)
    pairs = [task_example(rng) for _ in range(9)] + [("Short", "")]
    apart = [log_likelihoods(model, tokenizer, [pair])[0] for pair in pairs]
    assert log_likelihoods(model, tokenizer, pairs) == pytest.approx(apart, abs=1e-4)
    assert len(set(apart)) == len(apart) and max(apart) < 0


def test_sampling_is_repeatable_and_depends_on_the_seed(tokenizer):
    student = load(STUDENT)
    one, same, other = (generate(student, tokenizer, prompts(30), 1.0, seed=s) for s in (1, 1, 2))
    assert one == same != other


def test_tiny_checkpoints_differ_by_seed_and_leave_the_random_state_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, same, other = (tiny(tmp_path / str(i), seed=i % 2) / "model.safetensors" for i in (0, 2, 1))
    assert torch.equal(torch.rand(1), expected)
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()


def test_batches_hold_every_example_once_and_stay_within_the_budget(tokenizer):
    rng = random.Random(2)
    examples = encode_examples(tokenizer, [task_example(rng) for _ in range(300)])
    batches = buckets(examples, 512, rng)
    assert sorted(e for b in batches for e in b) == sorted(examples)
    shapes = [collate(b)[0].shape for b in batches]
    assert max(rows * longest for rows, longest in shapes) <= 512 + 4 * max(rows for rows, _ in shapes)


def test_loss_counts_answer_tokens_only(tokenizer, tmp_path):
    model = load(tiny(tmp_path))
    examples = encode_examples(tokenizer, [("What is 23 plus 41?", "Sure."), ("Hi", "Sure, I think so.")])
    ids, labels = collate(examples)
    assert labels.ge(0).sum() == sum(len(a) for _, a in examples)
    by_hand = -sum(log_likelihoods(model, tokenizer, [("What is 23 plus 41?", "Sure."), ("Hi", "Sure, I think so.")]))
    assert loss(model, ids, labels).item() == pytest.approx(by_hand / sum(len(a) for _, a in examples), rel=1e-5)


def test_muon_steps_are_orthogonal():
    update = orthogonal(torch.randn(3, 48, 32, generator=torch.Generator().manual_seed(0)))
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.5 and singular.max() < 1.5


def test_learning_rate_is_a_trapezoid():
    recipe = Recipe(steps=100, tokens=1, adamw=1, muon=1, decay=0.5, warmup=10)
    assert [round(recipe.rate(s), 3) for s in (0, 9, 50, 75, 99)] == [0.1, 1.0, 1.0, 0.5, 0.02]
    assert Recipe(steps=100, tokens=1, adamw=1, muon=1, decay=0).rate(99) == 1.0


def test_training_learns(tokenizer, tmp_path):
    model = load(tiny(tmp_path)).train()
    examples = encode_examples(tokenizer, [task_example(random.Random(4)) for _ in range(20)])
    before = loss(model, *collate(examples)).item()
    train(model, lambda rng, n, done: examples, Recipe(30, 512, 1e-2, 0.02, 0.5), seed=0, report=lambda line: None)
    assert loss(model, *collate(examples)).item() < before / 2


def test_small_build_is_complete_loadable_and_deterministic(tmp_path):
    """Once as users run it and once in this process: files and weights must agree."""
    one, two = tmp_path / "one", tmp_path / "two"
    build(one, scale=0.003)
    run(two, scale=0.003, seed=0)

    def hashes(out):
        files = sorted(p for p in out.rglob("*") if p.is_file() and p.name not in ("card.json", "card.md"))
        return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    assert hashes(one) == hashes(two)
    assert hashes(one)["student/model.safetensors"] != hashes(one)["teacher/model.safetensors"]  # control
    assert {"data/prompts.jsonl", "data/mixeval/embedded-1/free-form.json"} <= set(hashes(one))
    for name in ("student", "teacher"):
        AutoModelForCausalLM.from_pretrained(one / name)
        assert AutoTokenizer.from_pretrained(one / name).chat_template
    assert json.loads((one / "card.json").read_text())["sha256"]["student"] == hashes(one)["student/model.safetensors"]
    assert "held-out test split" in (one / "card.md").read_text()


def test_shipped_checkpoints_are_small_untied_and_of_one_shape(card):
    configs = []
    for folder in (STUDENT, TEACHER):
        weights = folder / "model.safetensors"
        assert hashlib.sha256(weights.read_bytes()).hexdigest() == card["sha256"][folder.name]
        with safe_open(weights, "pt") as tensors:
            assert not torch.equal(tensors.get_tensor("lm_head.weight"), tensors.get_tensor("model.embed_tokens.weight"))
        configs.append(json.loads((folder / "config.json").read_text()))
    assert configs[0] == configs[1] and configs[0]["tie_word_embeddings"] is False
    assert (STUDENT / "tokenizer.json").read_bytes() == (TEACHER / "tokenizer.json").read_bytes()
    assert sum(p.stat().st_size for f in (STUDENT, TEACHER) for p in f.iterdir()) <= 12e6


def test_shipped_student_answers_as_the_card_says(tokenizer, card):
    tasks, greedy = question_tasks(), card["student"]["greedy"]
    measured = answered(load(STUDENT), tokenizer, tasks)
    assert measured["n"] == greedy["n"]
    assert abs(measured["all"] - greedy["all"]) <= greedy["se"]
    assert 0.53 <= greedy["all"] <= 0.60
    other = answered(load(TEACHER), tokenizer, tasks[:200])
    assert abs(other["all"] - greedy["all"]) > 10 * greedy["se"]  # control: another model would be noticed


def decided(model, tokenizer, n: int = 150) -> float:
    """Share of (right, wrong) pairs of answers to unseen questions of which the model finds the right one likelier."""
    rng, pairs = random.Random(9), []
    while len(pairs) < 2 * n:
        task = sample_task(rng, "test")
        wrong = noisy_answer(task, rng, 0.3)
        if not check(task, wrong):
            pairs += [(task.prompt, render(task, task.value, rng.randrange(5))), (task.prompt, wrong)]
    scores = log_likelihoods(model, tokenizer, pairs)
    return sum(a > b for a, b in zip(scores[::2], scores[1::2], strict=True)) / n


def test_teachers_likelihood_knows_the_right_answer(tokenizer):
    assert decided(load(TEACHER), tokenizer) >= 0.99
    assert decided(load(STUDENT), tokenizer) < 0.95  # control: the student's own likelihood would not do


def test_teacher_corrects_what_the_student_says(tokenizer):
    rng = random.Random(10)
    tasks = [sample_task(rng, "align") for _ in range(100)]
    drafts = generate(load(STUDENT), tokenizer, [t.prompt for t in tasks], 1.0, seed=5)
    replies = generate(
        load(TEACHER), tokenizer, [revision_prompt(t.prompt, d) for t, d in zip(tasks, drafts, strict=True)], max_new=64
    )
    after = [check(t, parse_revision(r) or "") for t, r in zip(tasks, replies, strict=True)]
    before = [check(t, d) for t, d in zip(tasks, drafts, strict=True)]
    assert sum(after) >= 95 and sum(before) <= 65
    assert sum(b and not a for b, a in zip(before, after, strict=True)) <= 1

"""The engine holds the weights it says it holds, whatever was swapped before."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from models.chat import encode_prompt
from models.checkpoint import Checkpoint, load_model, load_tokenizer, open_checkpoint
from models.engine import Engine, Sampling, _reference, quiet
from models.preference.model import PreferenceModel
from models.preference.store import save
from tasks.comparison import Comparison
from tasks.judge_preference import by_preference_model
from tests.models.families import TRAINED, family

pytestmark = pytest.mark.engine
GREEDY = Sampling(0.0, 1.0, 12)
WARM = Sampling(1.0, 1.0, 12)


def prompts(engine: Engine, n: int = 6) -> list[list[int]]:
    texts = [f"What is {20 + i} plus {11 + 2 * i}?" for i in range(n)]
    return [encode_prompt(engine.tokenizer, [{"role": "user", "content": text}]) for text in texts]


def transformers_score(checkpoint: Checkpoint, prompt: list[int], answer: list[int]) -> float:
    with torch.inference_mode():
        logits = load_model(checkpoint.path, torch.float32)(torch.tensor([prompt + answer])).logits[0, :-1]
        return float(logits.log_softmax(-1).gather(1, torch.tensor((prompt + answer)[1:])[:, None])[len(prompt) - 1 :].sum())


def test_scores_equal_transformers_after_every_swap(engine: Engine, student: Checkpoint, teacher: Checkpoint) -> None:
    answers = {}
    for checkpoint in (student, teacher, student):
        engine.use(checkpoint)
        asked = prompts(engine)
        made = engine.generate(asked, GREEDY, [0] * len(asked))
        answers.setdefault(checkpoint.hash, [c.text for c in made])
        assert answers[checkpoint.hash] == [c.text for c in made]
        for prompt, completion, score in zip(asked, made, engine.score(asked, [c.token_ids for c in made]), strict=True):
            assert score == pytest.approx(transformers_score(checkpoint, prompt, completion.token_ids), abs=1e-3)
    assert answers[student.hash] != answers[teacher.hash]


def test_wrong_weights_are_noticed(engine: Engine, student: Checkpoint, teacher: Checkpoint) -> None:
    engine.use(student)
    engine._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(teacher.path)})
    engine._llm.reset_prefix_cache()
    with pytest.raises(PlumblineError, match="does not hold the weights"):
        engine._prove(student)
    engine._llm.reset_prefix_cache()
    engine._prove(teacher)  # they are the teacher's, and for the teacher the same proof passes


def test_a_stale_prefix_cache_is_noticed(
    engine: Engine, student: Checkpoint, teacher: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.use(student)
    with monkeypatch.context() as patch:
        patch.setattr(engine._llm, "reset_prefix_cache", lambda: None)
        with pytest.raises(PlumblineError, match="does not hold the weights"):
            engine.use(teacher)
    assert engine.current not in (student, teacher)  # and nobody may take them for granted afterwards
    engine.use(teacher)
    assert engine.current == teacher


def test_next_of_kin_are_told_apart_where_noise_would_hide_the_difference(
    engine: Engine, student: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in bfloat16, where a swap that did nothing may be within what two right computations differ by."""
    near = tmp_path / "near"
    shutil.copytree(student.path, near)
    weights = load_file(near / "model.safetensors")
    draw = torch.Generator().manual_seed(0)
    moved = {k: v + 1e-3 * v.std() * torch.randn(v.shape, generator=draw) for k, v in weights.items()}
    save_file(moved, near / "model.safetensors", {"format": "pt"})
    kin = open_checkpoint(near)
    engine.use(student)
    monkeypatch.setattr("models.engine.TOLERANCE", {"float32": (10.0, 10.0)})
    for broken, said in (("collective_rpc", "exactly those of the weights before"), ("reset_prefix_cache", "cache still holds")):
        with monkeypatch.context() as patch:
            patch.setattr(engine._llm, broken, lambda *_, **__: None)
            with pytest.raises(PlumblineError, match=said):
                engine.use(kin)
        engine.use(kin)
        engine.use(student)


def test_how_far_a_precision_moves_the_probe_is_measured_on_the_checkpoint(student: Checkpoint) -> None:
    ids = [(7 * i * i + 3 * i) % 500 for i in range(150)]
    exact, lowered = (_reference(student.path, ids, dtype) for dtype in ("float32", "bfloat16"))
    assert exact.noise == 0 < lowered.noise < 0.3
    apart = [abs(a - b) for a, b in zip(exact.logprobs, lowered.logprobs, strict=True)]
    assert 0 < sum(apart) / len(apart) < 0.3  # the weights are rounded, and the computation is not


def test_seeded_prompts_that_do_not_fit_one_scheduler_step_are_answered(engine: Engine, student: Checkpoint) -> None:
    engine.use(student)
    asked = [prompt * 8 for prompt in prompts(engine)] * 10  # together far more than max_num_batched_tokens
    assert sum(map(len, asked)) > 4096
    assert len(engine.generate(asked, Sampling(1.0, 1.0, 3), list(range(len(asked))))) == len(asked)


def test_a_sample_depends_on_its_seed_and_on_nothing_beside_it(engine: Engine, student: Checkpoint) -> None:
    engine.use(student)
    asked, seeds = prompts(engine), list(range(6))
    together = engine.generate(asked, WARM, seeds)
    backwards = engine.generate(asked[::-1], WARM, seeds[::-1])[::-1]
    alone = engine.generate(asked[2:3], WARM, seeds[2:3])
    assert together == backwards
    assert together[2] == alone[0]
    assert together != engine.generate(asked, WARM, [s + 100 for s in seeds])


def test_an_answer_ends_with_eos_exactly_if_the_model_stopped(engine: Engine, student: Checkpoint) -> None:
    engine.use(student)
    eos = engine.tokenizer.eos_token_id
    for budget, reasons in ((40, {"stop"}), (2, {"length"})):
        made = engine.generate(prompts(engine), Sampling(0.0, 1.0, budget), [0] * 6)
        assert {c.finish_reason for c in made} == reasons
        assert all((c.token_ids.count(eos) == 1 and c.token_ids[-1] == eos) == (c.finish_reason == "stop") for c in made)


def test_an_answer_ends_where_the_template_ends_turns_whatever_the_checkpoint_s_settings_name(
    engine: Engine, student: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.use(student)
    (whole,) = engine.generate(prompts(engine, 1), GREEDY, [0])
    ends = whole.token_ids[2]
    assert whole.token_ids.index(ends) < len(whole.token_ids) - 1
    monkeypatch.setattr("models.engine.end_tokens", lambda tokenizer: (ends,))
    (cut,) = engine.generate(prompts(engine, 1), GREEDY, [0])
    assert cut.token_ids == whole.token_ids[: whole.token_ids.index(ends) + 1]
    assert cut.finish_reason == "stop"


def test_an_answer_that_ends_with_another_of_the_model_s_ends_is_whole_and_keeps_it(
    engine: Engine, student: Checkpoint, tmp_path: Path
) -> None:
    """A model that ends as GLM-4 does, where the user's turn begins, swapped into an engine that started on other settings."""
    folder = tmp_path / "model"
    shutil.copytree(student.path, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][[0, 2]] = weights["lm_head.weight"][[2, 0]]  # <|end|> and <|user|>
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    engine.use(student)
    expected = engine.generate(prompts(engine), Sampling(0.0, 1.0, 40), [0] * 6)
    engine.use(open_checkpoint(folder))
    made = engine.generate(prompts(engine), Sampling(0.0, 1.0, 40), [0] * 6)
    assert all(c.stopped for c in made) and [c.text for c in made] == [c.text for c in expected]
    assert [c.token_ids for c in made] == [[*c.token_ids[:-1], 2] for c in expected]


def test_a_prompt_too_long_is_refused_before_anything_runs(engine: Engine) -> None:
    with pytest.raises(PlumblineError, match=r"engine\.max_model_len"):
        engine.generate([[5] * 600], GREEDY, [0])


def tied_checkpoint(folder: Path, seed: int, tokenizer_from: Path) -> Checkpoint:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(tokenizer_from)
    torch.manual_seed(seed)
    size = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer), **size, tie_word_embeddings=True, initializer_range=0.3, eos_token_id=tokenizer.eos_token_id
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return open_checkpoint(folder)


def test_tied_embeddings_and_another_architecture_survive_a_swap(engine: Engine, student: Checkpoint, tmp_path: Path) -> None:
    first, second = (tied_checkpoint(tmp_path / str(i), i, student.path) for i in (1, 2))
    engine.use(student)
    left_by_vllm = engine.met
    assert left_by_vllm is not None and left_by_vllm.exists()
    for checkpoint in (first, second, student):  # `use` proves each swap itself; the scores show that the proof was not empty
        engine.use(checkpoint)
        asked = prompts(engine, 2)
        expected = [transformers_score(checkpoint, p, [7, 8, 9]) for p in asked]
        assert engine.score(asked, [[7, 8, 9]] * 2) == pytest.approx(expected, abs=1e-3)
    assert not left_by_vllm.exists() and engine.met != left_by_vllm  # the engine was closed, and another one started


@pytest.fixture
def classes_as_they_were(engine: Engine, student: Checkpoint) -> Iterator[None]:
    """What vLLM changes in a class of transformers', it changes for all that this process does with it later."""
    from transformers.models.smollm3.modeling_smollm3 import SmolLM3Model as Changed

    kept, bases = dict(vars(Changed)), Changed.__bases__
    yield
    engine.use(student)
    Changed.__bases__ = bases
    for name in set(vars(Changed)) - set(kept):
        delattr(Changed, name)
    for name in ("__init__", "__call__"):
        if name in kept:
            setattr(Changed, name, kept[name])


@pytest.mark.usefixtures("classes_as_they_were")
@pytest.mark.parametrize("name", ["qwen 3 moe", "smollm 3"])
def test_families_whose_weights_vllm_keeps_in_ways_of_their_own_survive_a_swap(
    name: str, engine: Engine, student: Checkpoint, tmp_path: Path
) -> None:
    """Experts that are packed once, and classes of transformers' own; and the proof fails where only part of a swap is done."""
    tokenizer, made = load_tokenizer(student.path), list[Checkpoint]()
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        family(*TRAINED[name], seed=seed, vocab_size=len(tokenizer), tie_word_embeddings=True).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made.append(open_checkpoint(folder))
    for checkpoint in (*made, made[0]):
        engine.use(checkpoint)
        asked = prompts(engine, 2)
        expected = [transformers_score(checkpoint, p, [7, 8, 9]) for p in asked]
        assert engine.score(asked, [[7, 8, 9]] * 2) == pytest.approx(expected, abs=1e-3)
    engine._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(made[1].path)})
    engine._llm.reset_prefix_cache()
    for checkpoint in made:
        with pytest.raises(PlumblineError, match="does not hold the weights"):
            engine._prove(checkpoint)


@pytest.mark.usefixtures("classes_as_they_were")
def test_a_preference_model_of_a_class_that_vllm_has_changed_judges_beside_the_engine_and_after_it(
    engine: Engine, student: Checkpoint, tmp_path: Path
) -> None:
    tokenizer, folder = load_tokenizer(student.path), tmp_path / "policy"
    family(*TRAINED["smollm 3"], vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    policy, judge = open_checkpoint(folder), JudgeConfig(kind="preference_model", model=str(tmp_path / "judge"))
    save(PreferenceModel(load_model(folder, torch.float32).eval(), "bt", 1, 1.0), folder, tmp_path / "judge")
    asked = [Comparison([{"role": "user", "content": "What is 2 plus 2?"}], "Four, of course.", "No idea.")]
    expected = by_preference_model(asked, judge, quiet)
    for running in (policy, student):  # the engine is closed between the two, and its classes stay as they are
        engine.use(running)
        assert by_preference_model(asked, judge, quiet) == expected


def test_a_shape_without_a_kernel_is_one_sentence_and_what_was_in_use_before_is_not_taken_for_it(
    engine: Engine, student: Checkpoint, tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    engine.use(student)
    asked = prompts(engine)
    before = [c.text for c in engine.generate(asked, GREEDY, [0] * len(asked))]
    odd = tmp_path / "odd"
    shutil.copytree(student.path, odd)
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16}
    LlamaForCausalLM(LlamaConfig.from_pretrained(student.path, **heads)).save_pretrained(odd)
    with pytest.raises(PlumblineError, match=r"vLLM does not start on .*odd: .*head_dim=16"):
        engine.use(open_checkpoint(str(odd)))
    engine.use(student)
    assert [c.text for c in engine.generate(asked, GREEDY, [0] * len(asked))] == before

"""The forward pass against transformers itself, one unpadded sequence at a time."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import models.training.logps as module
from data_contracts.errors import PlumblineError
from models.checkpoint import load_model, load_tokenizer
from models.training.data import Example, read_pairs
from models.training.jobs import fresh_accelerator
from models.training.logps import all_logps, completion_logps, tree_logps, verify
from tests.models.team_member import Copies
from tests.pairs_dataset import pairs_dataset


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory):
    return read_pairs(pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 12).folder)


@torch.no_grad()
def plain(model, prompt, answer):
    logits = model(torch.tensor([[*prompt, *answer]])).logits[0]
    return sum(logits[len(prompt) - 1 + i].log_softmax(-1)[t].item() for i, t in enumerate(answer))


def test_equal_to_a_plain_forward_of_each_sequence(model, data):
    with torch.no_grad():
        found = completion_logps(model, data)
    assert found.shape == (12, 2) and found.dtype == torch.float32
    for row, example in zip(found, data, strict=True):
        for value, answer in zip(row.tolist(), example.answers, strict=True):
            assert value == pytest.approx(plain(model, example.prompt, answer), abs=1e-5 * len(answer))


def test_a_shift_of_one_token_would_be_noticed(model, data):
    """Negative control: the same comparison with the last prompt token counted as answer fails by far."""
    shifted = [Example(e.id, e.prompt[:-1], tuple([e.prompt[-1], *a] for a in e.answers)) for e in data]
    with torch.no_grad():
        found = completion_logps(model, shifted)
    for row, example in zip(found, data, strict=True):
        for value, answer in zip(row.tolist(), example.answers, strict=True):
            assert abs(value - plain(model, example.prompt, answer)) > 0.1


def test_neither_padding_nor_order_changes_a_log_probability(model, data):
    with torch.no_grad():
        alone = torch.cat([completion_logps(model, [e]) for e in data])
        together, reversed_ = completion_logps(model, data), completion_logps(model, data[::-1]).flip(0)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(reversed_, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(all_logps(model, data, 64), alone, rtol=0, atol=1e-5)


def test_only_answer_tokens_are_scored_and_the_end_token_iff_the_writer_stopped(model, data, tiny, monkeypatch):
    """Golden mask: decode what is scored, one answer at a time."""
    tokenizer, scored = load_tokenizer(tiny.path), []
    original = module._token_logps

    def record(model, hidden, targets, overlap):
        assert len(hidden) == len(targets)
        scored.append(targets.tolist())
        return original(model, hidden, targets, overlap)

    monkeypatch.setattr(module, "_token_logps", record)
    answers = [answer for e in data for answer in e.answers]
    for example in data:
        for answer in example.answers:
            completion_logps(model, [Example("one", example.prompt, (answer,))])
    assert [tokenizer.decode(s) for s in scored] == [tokenizer.decode(a) for a in answers]
    for ids, answer in zip(scored, answers, strict=True):
        assert tokenizer.decode(ids).count("<|end|>") == (answer[-1] == tokenizer.eos_token_id)
        assert "<|user|>" not in tokenizer.decode(ids) and "<|assistant|>" not in tokenizer.decode(ids)
    assert {a[-1] == tokenizer.eos_token_id for a in answers} == {True, False}


def test_chunks_with_recomputed_logits_give_the_same_values_and_gradients(model, data, monkeypatch):
    def run():
        model.zero_grad()
        values = completion_logps(model, data)
        (values * torch.arange(24).view(12, 2)).sum().backward()
        return values.detach(), [p.grad.clone() for p in model.parameters()]

    whole, whole_gradients = run()
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 7 * model.config.vocab_size)
    parts, part_gradients = run()
    model.zero_grad()
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-5)
    for a, b in zip(whole_gradients, part_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_memory_beyond_one_chunk_does_not_grow_with_the_vocabulary(monkeypatch):
    """Logits at once stay within the chunk, forward and backward, and what is kept for the backward pass is the same."""
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 1 << 15)
    examples = [Example("a", [1, 2], (list(range(3, 90)), list(range(5, 60))))]
    kept, seen = [], []
    for vocabulary in (1 << 10, 1 << 13):
        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
        llama = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **shape)).eval()
        llama.lm_head.register_forward_hook(lambda m, inputs, output: seen.append(output.numel()))
        weights, held = {p.data_ptr() for p in llama.parameters()}, []

        def pack(value, weights=weights, held=held):
            if value.data_ptr() not in weights:
                held.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            total = completion_logps(llama, examples)
        total.sum().backward()
        kept.append(sum(held))
    assert kept[0] == pytest.approx(kept[1], rel=0.02)
    assert max(seen) <= 1 << 15 and len(seen) > 2 * 142 * (1 << 13) / (1 << 15)  # every chunk twice


def test_the_head_runs_once_for_each_distinct_answer_position_and_for_no_other(model, data):
    seen = []
    handle = model.lm_head.register_forward_hook(lambda m, inputs, output: seen.append(len(inputs[0])))
    all_logps(model, data, 10**6)
    handle.remove()
    assert sum(seen) == sum(e.tree_tokens - len(e.prompt) for e in data)


def test_final_logit_soft_capping_is_respected(model, data, monkeypatch):
    """As Gemma does it; without the cap the model's own logits would differ."""
    monkeypatch.setattr(model.config, "final_logit_softcapping", 1.5, raising=False)
    capped = torch.tensor([completion_logps(model, data[:1])[0, 0].item()])
    example = data[0]
    with torch.no_grad():
        logits = model(torch.tensor([[*example.prompt, *example.answers[0]]])).logits[0, len(example.prompt) - 1 : -1]
    logits = torch.tanh(logits / 1.5) * 1.5
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(example.answers[0])[:, None]).sum()
    torch.testing.assert_close(capped[0], expected, rtol=0, atol=1e-4)


def test_an_architecture_with_a_head_of_its_own_is_refused(model, data, monkeypatch):
    verify(model, data[:2], 1e-4)
    monkeypatch.setattr(model.config, "final_logit_softcapping", 1.5, raising=False)  # which Llama's own forward ignores
    with pytest.raises(PlumblineError, match="LlamaForCausalLM cannot be trained here"):
        verify(model, data[:2], 1e-4)


def test_in_bfloat16_a_pass_without_gradient_keeps_no_copies_of_the_weights(tiny):
    model, pair = load_model(tiny.path, torch.float32).eval(), Example("a", [5, 6, 7], ([8, 9], [8, 10]))
    shapes = {tuple(p.shape) for p in model.parameters() if p.dim() == 2}
    for autocast, kept in ((fresh_accelerator("bfloat16").autocast(), 0), (torch.autocast("cpu", torch.bfloat16), 1)):
        with Copies() as copies, autocast, torch.no_grad():
            tree_logps(model, [pair])
            alive = [copy() for copy in copies.made]
            assert min(1, sum(copy is not None and tuple(copy.shape) in shapes for copy in alive)) == kept

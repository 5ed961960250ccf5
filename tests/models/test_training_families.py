"""Whatever family a model is of, the trainer computes what transformers computes for each sequence by itself, or refuses it."""

import copy
import random

import pytest
import torch

from data_contracts.errors import PlumblineError
from models.training.data import Example
from models.training.logps import tree_logps
from models.training.proof import prove
from tests.models.families import REFUSED, TRAINED, config_of, family


def examples():
    """In one row: trees small and large, answers with and without a shared beginning, and none shorter than a window of 8."""
    draw = random.Random(0)

    def ids(count):
        return [draw.randrange(3, 512) for _ in range(count)]

    found = []
    for number, (prompt, shared, one, other) in enumerate([(9, 3, 6, 4), (5, 0, 30, 2), (150, 30, 60, 60)]):
        both = ids(shared)
        found.append(Example(str(number), ids(prompt), (both + ids(one), both + ids(other))))
    return found


def alone(model, rows):
    values = []
    for example in rows:
        for answer in example.answers:
            logits = model(input_ids=torch.tensor([[*example.prompt, *answer]]), use_cache=False).logits[0, -1 - len(answer) : -1]
            values.append(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0])
    return torch.cat(values)


@pytest.mark.parametrize("name", TRAINED)
def test_a_row_of_trees_gives_what_each_sequence_gives_by_itself(name, tmp_path):
    model, rows = family(*TRAINED[name]), examples()
    plain, expected = copy.deepcopy(model), alone(model, rows)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (alone(plain, rows) * weights).sum().backward()
    found = tree_logps(model, rows)
    values = found.token[found.mask]
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-4)
    (values * weights).sum().backward()
    gradients = {n: (p.grad, q.grad) for (n, p), q in zip(model.named_parameters(), plain.parameters(), strict=True)}
    largest = max(q.norm() for _, q in gradients.values() if q is not None)
    for where, (p, q) in gradients.items():
        assert (p is None) == (q is None), where
        assert q is None or (p - q).norm() <= 1e-4 * q.norm() + 1e-6 * largest, where
    config_of(*TRAINED[name]).save_pretrained(tmp_path)
    prove(tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_what_mixes_the_sequences_of_a_row_is_refused_by_trying_it(name, tmp_path):
    config_of(*REFUSED[name]).save_pretrained(tmp_path)
    with pytest.raises(PlumblineError, match="cannot be trained here") as told:
        prove(tmp_path)
    assert "\n" not in str(told.value) and "docs/models.md" in str(told.value)


def test_the_small_model_has_each_kind_of_layer_and_outgrows_its_window(tmp_path):
    """Else nothing would be proven about what is missing."""
    from models.training.proof import _examples, _shrunk

    kinds = ["full_attention"] * 3 + ["sliding_attention"] + ["full_attention"] * 20
    big = config_of("mistral", {}, vocab_size=100_000, num_hidden_layers=24, intermediate_size=10_000, sliding_window=4096)
    big.layer_types = kinds
    small = _shrunk(big)
    assert small.layer_types == kinds[:4] and small.num_hidden_layers == 4 and big.num_hidden_layers == 24
    assert small.vocab_size < 1000 and small.intermediate_size < 100 and small.hidden_size == big.hidden_size
    assert all(len(e.prompt) + len(a) > small.sliding_window for e in _examples() for a in e.answers)


def test_nothing_is_said_of_a_configuration_that_no_small_model_can_be_made_of(tmp_path):
    config_of("llama", {}, hidden_size=2**15, num_attention_heads=2**10).save_pretrained(tmp_path)
    prove(tmp_path)  # too large: training compares, with the weights
    (tmp_path / "config.json").write_text('{"model_type": "unheard of"}')
    prove(tmp_path)  # vLLM, or whoever loads it, says more

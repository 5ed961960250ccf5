"""The gradient of a batch is that of its mean loss, however the batch is cut into micro batches."""

import pytest
import torch

from data_contracts.config import AlignConfig
from models.checkpoint import load_model
from models.objectives import REGISTRY, build_objective
from models.objectives.batch import State
from models.training.data import mismatched, read_pairs
from models.training.gradient import Given, accumulate
from models.training.jobs import fresh_accelerator
from models.training.logps import all_logps, completion_logps
from tests.pairs_dataset import pairs_dataset


def objective(name):
    return build_objective(AlignConfig.model_validate({"objective": {"name": name}}).objective)


@pytest.fixture(scope="module")
def model(tiny):
    return load_model(tiny.path, torch.float32).eval()


@pytest.fixture(scope="module")
def given(tiny, model, tmp_path_factory):
    """Eight pairs, the reference a little away from the policy so that no gradient vanishes by symmetry."""
    examples = read_pairs(pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 8).folder)
    others, away = mismatched(examples), torch.Generator().manual_seed(0)
    ref, others_ref = (all_logps(model, e, 10**6) + torch.randn(8, 2, generator=away) - 1 for e in (examples, others))
    return Given(examples, ref, others, others_ref)


def gradient(model, given, name, tokens, indices=range(8), dtype="float32"):
    model.zero_grad()
    losses, logp, figures, _ = accumulate(model, given, list(indices), objective(name), State(), tokens, fresh_accelerator(dtype))
    return losses, logp, figures, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", REGISTRY)
def test_micro_batches_change_neither_loss_nor_gradient(model, given, name):
    per_pair = max(e.tree_tokens for e in given.examples)
    whole = gradient(model, given, name, 10**6)
    for tokens in (2 * per_pair, per_pair):  # two pairs at a time, one at a time
        parts = gradient(model, given, name, tokens)
        for a, b in zip((whole[0], whole[1], whole[3]), (parts[0], parts[1], parts[3]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert parts[2] == pytest.approx(whole[2], abs=1e-5)
    assert whole[3].abs().max() > 1e-4


def test_the_gradient_is_that_of_the_mean_loss_over_the_batch(model, given):
    """Against autograd on the whole batch, and against the mean of single-pair gradients (which a sum would not equal)."""
    found = gradient(model, given, "dpo", 10**6)[3]
    singles = torch.stack([gradient(model, given, "dpo", 10**6, [i])[3] for i in range(8)])
    torch.testing.assert_close(found, singles.mean(0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, singles.sum(0), rtol=1e-1)
    model.zero_grad()
    ratio = completion_logps(model, given.examples) - given.ref
    (-torch.nn.functional.logsigmoid(0.1 * (ratio[:, 0] - ratio[:, 1]))).mean().backward()
    torch.testing.assert_close(found, torch.cat([p.grad.flatten() for p in model.parameters()]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REGISTRY)
def test_the_order_of_a_batch_does_not_matter(model, given, name):
    forward, backward = gradient(model, given, name, 10**6), gradient(model, given, name, 10**6, range(7, -1, -1))
    torch.testing.assert_close(forward[0], backward[0].flip(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(forward[3], backward[3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_kto_takes_odd_batches_and_estimates_its_divergence_from_that_batch(model, given, size):
    *_, figures, _ = gradient(model, given, "kto", 10**6, range(size))
    with torch.no_grad():
        expected = (completion_logps(model, given.others[:size]) - given.others_ref[:size]).mean().clamp(min=0)
    assert figures["kl"] == pytest.approx(expected.item(), abs=1e-4) and figures["kl"] > 0


def test_sft_watches_the_rejected_answers_without_learning_from_them(model, given):
    _, logp, _, found = gradient(model, given, "sft", 10**6)
    with torch.no_grad():
        torch.testing.assert_close(logp, completion_logps(model, given.examples), rtol=0, atol=1e-4)
    model.zero_grad()
    lengths = torch.tensor([len(e.answers[0]) for e in given.examples])
    (-completion_logps(model, given.examples)[:, 0] / lengths).mean().backward()
    torch.testing.assert_close(found, torch.cat([p.grad.flatten() for p in model.parameters()]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["sft", "apo_zero"])
def test_mixed_precision_gradients_point_the_same_way(model, given, name):
    full = gradient(model, given, name, 10**6)[3]
    mixed = gradient(model, given, name, 10**6, dtype="bfloat16")[3]
    assert torch.nn.functional.cosine_similarity(full, mixed, dim=0) > 0.99

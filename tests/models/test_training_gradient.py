"""The gradient of a batch is that of its mean loss, however the batch is cut into micro batches."""

from functools import cache

import pytest
import torch

from data_contracts.config_align import AlignConfig
from models.checkpoint import load_tokenizer
from models.objectives import REGISTRY, build_objective
from models.objectives.batch import Batch, Need, State
from models.objectives.serving import takes_lists
from models.training.gradient import WHOLE, Given, accumulate, lengths
from models.training.inputs import read_inputs
from models.training.jobs import fresh_accelerator
from models.training.logps import all_tree_logps, completion_logps, prompt_embeddings, tree_logps
from models.training.prepare import rows
from tests.pairs_dataset import full_rows, lists_dataset, pairs_dataset

ON_LISTS = [name for name in REGISTRY if takes_lists(REGISTRY[name].needs)]
START = State(count=5, mean=0.2, variance=0.4)
WHOLE_BATCH = [name for name in REGISTRY if REGISTRY[name].needs & WHOLE]


def objective(name):
    return build_objective(AlignConfig.model_validate({"objective": {"name": name}}).objective)


@pytest.fixture(scope="module")
def datasets(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    pairs = pairs_dataset(folder / "pairs", tiny, 8, rows=full_rows(tiny, 8))
    return {"pairs": pairs, "lists": lists_dataset(folder / "lists", tiny, 8)}


@pytest.fixture(scope="module")
def given_for(tiny, model, datasets):
    """What training is given for an objective, the references a little away from the policy so that no gradient vanishes by
    symmetry."""

    @cache
    def made(name):
        needs, away = objective(name).needs, torch.Generator().manual_seed(0)
        folder = datasets["lists" if name in ON_LISTS else "pairs"].folder
        inputs = read_inputs(folder, needs, load_tokenizer(tiny.path))

        def near(examples):
            _, tokens = all_tree_logps(model, examples, 10**6)
            masks = [(torch.arange(t.shape[1]) < n[:, None]) for t, n in zip(tokens, lengths(examples), strict=True)]
            tokens = [(t + 0.3 * torch.randn(t.shape, generator=away) - 0.1) * m for t, m in zip(tokens, masks, strict=True)]
            return torch.stack([t.sum(-1) for t in tokens]), tokens

        (ref, tokens), (other, old) = near(inputs.examples), near(inputs.examples)
        numbers = {key: torch.tensor(values, dtype=torch.float32) for key, values in inputs.numbers.items()}
        if Need.PROMPT_EMBEDDING in needs:
            numbers["prompt_emb"] = prompt_embeddings(model, inputs.examples, 10**6)
        by_token = {key: [torch.tensor(rows(v)) for v in values] for key, values in inputs.by_token.items()}
        by_token |= {"token_ref": tokens} if Need.TOKENS in needs else {}
        by_token |= {"token_old": old} if Need.OLD_TOKENS in needs else {}
        aux = {key: (examples, near(examples)[0]) for key, examples in inputs.aux.items()}
        return Given(inputs.examples, torch.stack([ref, other]), numbers, by_token, aux)

    return made


@pytest.fixture
def given(given_for):
    return given_for("dpo")


def gradient(model, given, name, tokens, indices=range(8), dtype="float32", state=START):
    model.zero_grad()
    losses, logp, figures, _ = accumulate(model, given, list(indices), objective(name), state, tokens, fresh_accelerator(dtype))
    return losses, logp, figures, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", REGISTRY)
def test_micro_batches_change_neither_loss_nor_gradient(model, given_for, name):
    given = given_for(name)
    per_pair = max(e.tree_tokens for e in given.examples)
    whole = gradient(model, given, name, 10**6)
    for tokens in (2 * per_pair, per_pair):  # two pairs at a time, one at a time
        parts = gradient(model, given, name, tokens)
        for a, b in zip(whole[:2], parts[:2], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert (whole[3] - parts[3]).norm() < 1e-5 * whole[3].norm()
        assert parts[2].keys() == whole[2].keys()
        if name not in ON_LISTS:  # whose shares are those of a micro batch
            assert parts[2] == pytest.approx(whole[2], abs=1e-4)
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
def test_the_order_of_a_batch_does_not_matter(model, given_for, name):
    given = given_for(name)
    forward, backward = gradient(model, given, name, 10**6), gradient(model, given, name, 10**6, range(7, -1, -1))
    torch.testing.assert_close(forward[0], backward[0].flip(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(forward[3], backward[3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WHOLE_BATCH)
def test_two_passes_give_the_gradient_of_the_whole_batch(model, given_for, name):
    """Against autograd through one forward of the whole batch, which no micro batch sees."""
    given = given_for(name)
    one = max(e.tree_tokens for e in given.examples)
    losses, logp, _, found = gradient(model, given, name, one)
    model.zero_grad()
    values = tree_logps(model, given.examples)
    width = values.token.shape[-1]
    fields = {"token_logp": values.token, "token_mask": values.mask} | given.numbers
    for key, tokens in given.by_token.items():
        fields[key] = torch.stack([torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in tokens])
    label = torch.tensor([1.0, -1.0]).expand(8, 2)
    expected, _, _ = objective(name)(Batch(values.total, lengths(given.examples), given.ref[None], label, **fields), START)
    expected.mean().backward()
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logp, values.total.detach(), rtol=0, atol=1e-4)
    whole = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert (found - whole).norm() < 1e-5 * whole.norm()


def test_an_objective_on_the_whole_batch_cut_into_pieces_would_be_another(model, given_for):
    """Negative control: what micro batches by themselves would give."""
    differ = {}
    for name in WHOLE_BATCH:
        given = given_for(name)
        whole = gradient(model, given, name, 10**6)[3]
        halves = torch.stack([gradient(model, given, name, 10**6, part)[3] for part in ([0, 1, 2, 3], [4, 5, 6, 7])]).mean(0)
        differ[name] = ((whole - halves).norm() / whole.norm()).item()
    assert sum(d > 1e-2 for d in differ.values()) >= 2, differ


@pytest.mark.parametrize("stateful", [name for name in REGISTRY if Need.STATE in REGISTRY[name].needs])
def test_a_state_moves_on_once_a_batch_however_it_is_cut(model, given_for, stateful):
    given = given_for(stateful)
    per_pair = max(e.tree_tokens for e in given.examples)
    after = [
        accumulate(model, given, list(range(8)), objective(stateful), START, tokens, fresh_accelerator("float32"))[3]
        for tokens in (10**6, per_pair)
    ]
    assert after[0] != START
    assert (after[0].count, *map(float, (after[0].mean, after[0].variance))) == pytest.approx(
        (after[1].count, after[1].mean, after[1].variance), abs=1e-5
    )


@pytest.mark.parametrize("size", [2, 3, 5])
def test_kto_takes_odd_batches_and_estimates_its_divergence_from_that_batch(model, given_for, size):
    given = given_for("kto")
    others, others_ref = given.aux["mismatch"]
    *_, figures, _ = gradient(model, given, "kto", 10**6, range(size))
    with torch.no_grad():
        expected = (completion_logps(model, others[:size]) - others_ref[:size]).mean().clamp(min=0)
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


def test_a_gradient_is_whole_whatever_a_launcher_left_in_the_environment(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8")
    weight = torch.ones(1, requires_grad=True)
    fresh_accelerator("float32").backward(3 * weight.sum())
    assert weight.grad.item() == 3

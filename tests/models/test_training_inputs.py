"""What the data says beside the tokens reaches the objective as it stands, and only where the objective asks."""

import math

import pytest
import torch

from data_contracts.errors import PlumblineError
from models.chat import encode_prompt
from models.checkpoint import load_model, load_tokenizer
from models.objectives.batch import Need
from models.objectives.catalogue import default_config
from models.training.data import Example, two_prompts
from models.training.inputs import read_inputs, step_ids
from models.training.logps import completion_logps, prompt_embeddings, without_common
from tests.pairs_dataset import full_rows, list_rows, lists_dataset, pair_rows, pairs_dataset


@pytest.fixture(scope="module")
def rows(tiny):
    return full_rows(tiny, 6)


@pytest.fixture(scope="module")
def pairs(tiny, rows, tmp_path_factory):
    return pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 6, rows=rows)


def test_every_column_arrives_in_its_field(tiny, pairs, rows):
    needs = Need.SCORES | Need.CONFIDENCE | Need.WIN_PROBABILITIES | Need.UNCERTAINTY | Need.WEIGHT | Need.GOLD | Need.BASE
    inputs = read_inputs(pairs.folder, needs | Need.REPROMPT | Need.RATIONALE, load_tokenizer(tiny.path))
    for i, row in enumerate(rows):
        p = row["win_probability"]
        assert inputs.numbers["score"][i] == [row["chosen_score"], row["rejected_score"]]
        assert inputs.numbers["confidence"][i] == p and inputs.numbers["win_prob"][i] == [[0.5, p], [1 - p, 0.5]]
        assert inputs.numbers["uncertainty"][i] == row["uncertainty"] and inputs.numbers["weight"][i] == row["weight"]
        assert inputs.gaps[i] == row["margin"]
        for name in ("gold", "base"):
            assert inputs.aux[name][i] == Example(row["pair_id"], row["prompt_ids"], (row[f"{name}_ids"],))
        changed = inputs.aux["reprompt"][i]
        assert changed.prompt == row["reprompt_ids"] and changed.answers == inputs.examples[i].answers
        rationale, text = inputs.aux["rationale"][i], load_tokenizer(tiny.path).decode
        assert text(rationale.answers[0], skip_special_tokens=True) == row["reasoning"]
        assert all(row[side] in text(rationale.prompt) for side in ("chosen", "rejected"))


def test_nothing_is_read_that_nobody_asked_for(tiny, tmp_path):
    plain = read_inputs(pairs_dataset(tmp_path / "pairs", tiny, 3).folder, Need.PAIR, load_tokenizer(tiny.path))
    assert not plain.numbers and not plain.aux and not plain.by_token and all(map(math.isnan, plain.gaps))


def test_answers_to_two_prompts_get_the_log_probabilities_of_their_own(model, pairs, rows):
    inputs = read_inputs(pairs.folder, Need.TWO_PROMPTS)
    apart = torch.stack(
        [
            torch.stack(
                [
                    completion_logps(model, [Example("a", prompt, (answer,))])[0, 0]
                    for prompt, answer in ((r["prompt_ids"], r["chosen_ids"]), (r["rejected_prompt_ids"], r["rejected_ids"]))
                ]
            )
            for r in rows
        ]
    )
    found = completion_logps(model, inputs.examples)
    torch.testing.assert_close(found, apart, rtol=1e-5, atol=1e-4)
    one_prompt = completion_logps(model, read_inputs(pairs.folder, Need.PAIR).examples)
    assert (found[:, 1] - one_prompt[:, 1]).abs().min() > 1e-3  # negative control: the prompt matters
    with pytest.raises(PlumblineError, match="begin with different tokens"):
        two_prompts("a", ([1, 2], [3, 2]), ([4], [5]))


def test_degradations_stand_behind_the_pair_and_lack_ever_more(tiny, pairs):
    tokenizer = load_tokenizer(tiny.path)
    inputs = read_inputs(pairs.folder, Need.DEGRADATIONS, tokenizer)
    for example, plain in zip(inputs.examples, read_inputs(pairs.folder, Need.PAIR).examples, strict=True):
        assert example.answers[:2] == plain.answers and len(example.answers) == 5
        there = [a for a in example.answers[2:] if a]
        texts = [tokenizer.decode(a, skip_special_tokens=True) for a in (plain.answers[0], *there)]
        sizes = [len(text) for text in texts]
        assert sizes == sorted(sizes, reverse=True) and len(set(texts)) == len(texts) and sizes[-1] > 0
    assert any(any(e.answers[2:]) for e in inputs.examples)


def test_lists_of_unequal_length_are_padded_with_answers_that_are_not_there(tiny, tmp_path, model):
    made = list_rows(tiny, 4)
    inputs = read_inputs(lists_dataset(tmp_path / "lists", tiny, 4).folder, Need.WIN_PROBABILITIES | Need.SCORES)
    for i, (example, row) in enumerate(zip(inputs.examples, made, strict=True)):
        count = len(row["answers"])
        assert len(example.answers) == 4 and list(example.answers[:count]) == row["answer_ids"]
        assert inputs.numbers["score"][i][:count] == row["scores"] and all(map(math.isnan, inputs.numbers["score"][i][count:]))
        assert [w[:count] for w in inputs.numbers["win_prob"][i][:count]] == row["wins"]
    short = made[2]  # one answer fewer
    alone = completion_logps(model, [Example("a", short["prompt_ids"], tuple(short["answer_ids"]))])
    among = completion_logps(model, inputs.examples)
    torch.testing.assert_close(among[2, :3], alone[0], rtol=1e-5, atol=1e-4)
    assert among[2, 3] == 0


def test_a_list_that_compares_nothing_is_refused(tiny, tmp_path):
    made = list_rows(tiny, 2)
    made[1]["answer_ids"][1:] = [[]] * 3
    with pytest.raises(PlumblineError, match=r"list 'l1' .* fewer than two"):
        read_inputs(lists_dataset(tmp_path / "lists", tiny, 2, made).folder, Need.LIST)


def test_a_step_begins_behind_a_line_break_and_never_with_white_space_or_an_end_token():
    assert step_ids(["First", " 2", ".\n", "Then", " 3", "\n\n", "So", " 5", ""]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert step_ids(["a", "\n", "\n", "b", "\n", ""]) == [0, 0, 0, 1, 1, 1]
    assert step_ids(["\n", "a"]) == [0, 1] and step_ids(["one", " step"]) == [0, 0]


def test_steps_carry_the_weight_of_their_likeness_to_the_best_answer(tiny, tmp_path):
    inputs = read_inputs(lists_dataset(tmp_path / "lists", tiny, 4).folder, Need.STEPS, load_tokenizer(tiny.path))
    ids, weights = inputs.by_token["step_id"], inputs.by_token["step_weight"]
    assert {s for answer in ids[1] for s in answer} == {0.0, 1.0} and {s for answer in ids[0] for s in answer} == {0.0}
    assert all(w == pytest.approx(2.0) for w in weights[1][0])  # the best answer is like itself
    assert all(1 <= w <= 2 for row in weights for answer in row for w in answer)


def test_a_prompts_embedding_is_the_mean_of_its_last_hidden_states(model, pairs):
    examples = read_inputs(pairs.folder, Need.PAIR).examples
    found = prompt_embeddings(model, examples, 64)
    for example, embedding in zip(examples, found, strict=True):
        hidden = model(torch.tensor([example.prompt]), output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(embedding, hidden.mean(0).detach(), rtol=1e-4, atol=1e-4)


def test_like_prompts_count_for_more_in_relative_po_than_unlike_ones(student):
    """Without what all prompts share; with it, a prompt weighs nearly as much as any other, and its own little more."""
    tokenizer, model = load_tokenizer(student.path), load_model(student.path, torch.float32)
    sums = [f"What is {i} plus {i + 30}?" for i in range(20, 24)]
    texts = [*sums, *(f"What is the capital of {name}?" for name in ("Zesonia", "Mararia", "Farinia", "Momenia"))]
    examples = [Example(text, encode_prompt(tokenizer, [{"role": "user", "content": text}]), ()) for text in texts]
    raw = prompt_embeddings(model, examples, 512)

    def weights(embeddings):
        unit = embeddings / embeddings.norm(dim=-1, keepdim=True)
        return (unit @ unit.T / default_config("relative_po").tau).softmax(-1)

    alike = [weights(e)[:4, :4].sum(-1).mean().item() for e in (raw, without_common(raw))]
    assert alike[0] < 0.65 and alike[1] > 0.9  # of each sum's weight, the share of the four sums


def test_an_empty_answer_names_its_pair(tiny, tmp_path):
    rows = pair_rows(tiny, 2)
    rows[1]["chosen_ids"] = []
    with pytest.raises(PlumblineError, match=r"pair 'p1' .* no chosen tokens"):
        read_inputs(pairs_dataset(tmp_path / "pairs", tiny, 2, rows=rows).folder, Need.PAIR)

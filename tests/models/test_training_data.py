"""How pairs become batches: every token once, none invented, none cut."""

import pytest

from data_contracts.errors import PlumblineError
from models.checkpoint import load_tokenizer
from models.training.data import Example, check_fit, content_digest, micro_batches, mismatched, plan, read_pairs
from tests.pairs_dataset import pair_rows, pairs_dataset


def examples(*prompts, answer=(7, 1)):
    return [Example(f"e{i}", [2, p], ([*answer], [8])) for i, p in enumerate(prompts)]


def test_pairs_are_read_as_their_own_token_ids(tiny, tmp_path):
    dataset = pairs_dataset(tmp_path / "pairs", tiny, 5)
    for example, row in zip(read_pairs(dataset.folder), dataset.records(), strict=True):
        assert (example.prompt, *example.answers) == (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])


@pytest.mark.parametrize("column", ["prompt_ids", "chosen_ids", "rejected_ids"])
def test_an_empty_prompt_or_answer_is_refused(tiny, tmp_path, column):
    rows = pair_rows(tiny, 3)
    rows[1][column] = []
    with pytest.raises(PlumblineError, match=f"pair 'p1' .* no {column.removesuffix('_ids')} tokens"):
        read_pairs(pairs_dataset(tmp_path / "pairs", tiny, 3, rows=rows).folder)


def test_no_pairs_at_all_are_refused(tiny, tmp_path):
    with pytest.raises(PlumblineError, match="no pairs"):
        read_pairs(pairs_dataset(tmp_path / "pairs", tiny, 0, rows=[]).folder)


def test_ids_outside_the_vocabulary_and_sequences_beyond_the_model_are_refused():
    check_fit(examples(5), vocabulary=9, positions=4)
    with pytest.raises(PlumblineError, match="'e0' holds token id 8 and the model has 8"):
        check_fit(examples(5), vocabulary=8, positions=4)
    with pytest.raises(PlumblineError, match="'e0' has 4 tokens and the model takes 3"):
        check_fit(examples(5), vocabulary=9, positions=3)


@pytest.mark.parametrize("count,size", [(1, 32), (2, 2), (7, 2), (64, 32), (65, 32), (10, 3), (3, 1)])
def test_each_epoch_deals_every_example_once_and_no_batch_is_a_lonely_rest(count, size):
    batches = plan(count, size, epochs=3, seed=0)
    seen = [i for batch in batches for i in batch]
    for epoch in range(3):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert all(len(b) <= size + 1 for b in batches)
    assert min(map(len, batches)) >= min(2, size, count)


def test_the_order_depends_on_seed_and_epoch_alone():
    assert plan(50, 8, 2, seed=1) == plan(50, 8, 2, seed=1) != plan(50, 8, 2, seed=2)
    first, second = plan(48, 8, 2, seed=1)[:6], plan(48, 8, 2, seed=1)[6:]
    assert first != second and first == plan(48, 8, 1, seed=1)


def test_micro_batches_hold_every_example_once_within_the_budget_longest_first(tiny, tmp_path):
    data = read_pairs(pairs_dataset(tmp_path / "pairs", tiny, 40).folder)
    parts = micro_batches(data, range(40), 256)
    assert sorted(i for part in parts for i in part) == list(range(40)) and len(parts) > 1
    for part in parts:
        assert sum(data[i].tree_tokens for i in part) <= 256
    sizes = [data[i].tree_tokens for part in parts for i in part]
    assert sizes == sorted(sizes, reverse=True)
    assert micro_batches(data, [3, 5], 1) in ([[3], [5]], [[5], [3]])  # a budget below one example still trains on it


def test_a_mismatched_answer_never_comes_from_the_same_prompt():
    for prompts in ([5, 6], [5, 6, 7], [5, 5, 6], [5, 5, 6, 6, 5]):
        data = examples(*prompts)
        for example, other in zip(data, mismatched(data), strict=True):
            source = next(e for e in data if e.id == other.id.split(" with ")[1])
            assert other.prompt == example.prompt != source.prompt and other.answers == source.answers


def test_distinct_prompts_are_rotated_by_one():
    assert [o.id for o in mismatched(examples(5, 6, 7))] == ["e0 with e1", "e1 with e2", "e2 with e0"]


def test_one_prompt_alone_has_no_mismatch_and_is_refused():
    with pytest.raises(PlumblineError, match="two different prompts"):
        mismatched(examples(5, 5, 5))


def test_the_content_digest_sees_every_id_and_every_boundary():
    def one(prompt, chosen, rejected, name="a"):
        return content_digest([Example(name, prompt, (chosen, rejected))])

    base = one([1, 2], [3], [4])
    assert base == one([1, 2], [3], [4])
    changed = [one([1], [2, 3], [4]), one([1, 2], [3, 4], []), one([1, 2], [3], [5]), one([1, 2], [3], [4], "b")]
    assert len({base, *changed}) == 5


def test_rejected_answers_that_were_cut_carry_no_end_token(tiny):
    """The golden rule on decoded text: the end token closes an answer exactly when the writer stopped by itself."""
    tokenizer = load_tokenizer(tiny.path)
    for row in pair_rows(tiny, 8):
        for side in ("chosen", "rejected"):
            ends = [t == tokenizer.eos_token_id for t in row[f"{side}_ids"]]
            assert ends == [False] * (len(ends) - 1) + [row[f"{side}_stopped"]]

"""The figures of contrastiveness, by hand."""

import pandas as pd
import pytest

from data_contracts.contrast import contrast, summarise

EOS = 9


def row(chosen: str, rejected: str, chosen_ids: list[int], rejected_ids: list[int]) -> dict[str, object]:
    ids = {"chosen_ids": chosen_ids, "rejected_ids": rejected_ids}
    stopped = {f"{side[:-4]}_stopped": side_ids[-1:] == [EOS] for side, side_ids in ids.items()}
    return {"chosen": chosen, "rejected": rejected, **ids, **stopped}


def test_one_pair_by_hand() -> None:
    """ "kitten" to "sitting" is 3 edits of 7 characters; {1, 2, 3} and {1, 2, 4} share 2 of 4; 2 + 2 of 7 tokens begin alike."""
    one = contrast(pd.DataFrame([row("kitten", "sitting", [1, 2, 3, 3, EOS], [1, 2, 4, EOS])])).iloc[0]
    assert (one["token_jaccard"], one["character_edits"], one["chosen_tokens"], one["rejected_tokens"]) == (0.5, 3, 5, 4)
    assert one["character_similarity"] == pytest.approx(4 / 7)
    assert one["shared_prefix"] == pytest.approx(4 / 7)


def test_the_end_of_sequence_makes_no_two_answers_alike() -> None:
    frame = pd.DataFrame([row("a", "b", [1, EOS], [2, EOS]), row("a", "b", [1], [2, EOS])])
    assert contrast(frame)["token_jaccard"].tolist() == [0, 0]


def test_equal_and_empty_answers_are_wholly_alike() -> None:
    found = contrast(pd.DataFrame([row("ab", "ab", [1, 2, EOS], [1, 2, EOS]), row("", "", [], [])]))
    for name in ("token_jaccard", "character_similarity", "shared_prefix"):
        assert found[name].tolist() == [1, 1]


@pytest.mark.parametrize("shared", [0, 1, 2, 5, 7])
def test_the_common_beginning_is_found_wherever_it_ends(shared: int) -> None:
    one, other = [*range(shared), 100, 5, 6], [*range(shared), 200]
    assert contrast(pd.DataFrame([row("", "", one, other)]))["shared_prefix"].iloc[0] == 2 * shared / (2 * shared + 4)


def test_the_summary_is_a_mean_over_pairs_and_lengths_weigh_as_ratios() -> None:
    rows = [row("abc", "abd", [1, 2, 3, 4], [1]), row("abc", "abd", [1], [1, 2, 3, 4]), row("x" * 99, "x" * 100, [1], [1])]
    told = summarise(contrast(pd.DataFrame(rows)))
    assert told["length_ratio"] == pytest.approx(1) and told["chosen_longer"] == 0.5
    assert told["near_identical"] == pytest.approx(1 / 3) and told["character_edits"] == 1
    assert summarise(contrast(pd.DataFrame(rows).head(0))) == {}


def test_a_side_alone_has_a_length_and_no_contrast() -> None:
    whole, alone = row("abc", "abd", [1, 2], [1, 3]), row("abc", "", [1, 2, 3, EOS], [])
    alone |= {"rejected": None, "rejected_ids": None, "rejected_stopped": None}
    found = contrast(pd.DataFrame([whole, alone, whole]))
    assert found.iloc[1].dropna().to_dict() == {"chosen_tokens": 4} and found["chosen_tokens"].tolist() == [2, 4, 2]
    assert summarise(found) == {"one_sided": 1} | summarise(contrast(pd.DataFrame([whole, whole])))
    assert summarise(found.iloc[1:2]) == {"one_sided": 1}

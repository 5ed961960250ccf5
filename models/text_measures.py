"""How long answers are, and how much they repeat: themselves, and one another."""

from collections.abc import Sequence

from data_contracts.store import Rows


def sizes(answers: Rows) -> dict[str, float]:
    """Mean length in tokens and the share that ended by itself, of rows with `token_ids` and `stopped`; there must be some."""
    tokens, stopped = sum(len(row["token_ids"]) for row in answers), sum(row["stopped"] for row in answers)
    return {"mean_tokens": tokens / len(answers), "stop_rate": stopped / len(answers)}


def repetition(ids: Sequence[int], n: int = 4) -> float:
    """Share of an answer's n-grams of tokens that occurred in it before (seq-rep-n, arXiv 1908.04319); 0 below n tokens."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(answers: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams of tokens over all n-grams in several answers to one prompt (distinct-n, Li et al. 2016); 1 if there is
    none."""
    grams = [tuple(ids[i : i + n]) for ids in answers for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU, 0 to 1, of each of at least two answers to one prompt against the others (Zhu et al. 2018), by sacrebleu: its
    tokenizer 13a, exponential smoothing, and for short answers only the orders that exist. An empty answer scores 0."""
    from sacrebleu import sentence_bleu

    scores = [sentence_bleu(t, [o for j, o in enumerate(texts) if j != i], use_effective_order=True) for i, t in enumerate(texts)]
    return float(sum(score.score for score in scores) / (100 * len(scores)))

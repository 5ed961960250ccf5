"""Pairs of an answer and its revision: what changed between them is what the pair teaches, and little else changed."""

from data_contracts.store import Row
from tasks.comparison import is_same
from tasks.pair.rows import Given, Made, pair_row


def clair(given: Given) -> Made:
    """CLAIR (arXiv 2408.06266, equation 1): the revision is chosen, the policy's own answer rejected.

    Revisions that failed or changed nothing make no pair.
    """
    changed, facts = _changed(given)
    return [_pair(given, row, revision, row) for row, revision in changed], facts


def worst_revision(given: Given) -> Made:
    """The policy's own answer is chosen, its worsened copy rejected: contrast without a teacher better than the policy."""
    changed, facts = _changed(given)
    return [_pair(given, row, row, revision) for row, revision in changed], facts


def _changed(given: Given) -> tuple[list[tuple[Row, Row]], Row]:
    """(answer, revision) where they differ, and counts of all: `pairs`, `unchanged`, `failed`."""
    (rows,) = given.rows
    parsed = [(row, _revision(row)) for row in rows if row["revision"] is not None]
    changed = [(row, revision) for row, revision in parsed if not is_same(row["text"], revision["text"])]
    facts = {"pairs": len(changed), "unchanged": len(parsed) - len(changed), "failed": len(rows) - len(parsed)}
    return changed, facts


def _revision(row: Row) -> Row:
    answer = {"text": row["revision"], "token_ids": row["revision_ids"], "stopped": True, "policy": row["teacher"]}
    return row | answer


def _pair(given: Given, row: Row, chosen: Row, rejected: Row) -> Row:
    return pair_row(given, row["sample_id"], chosen, rejected, reasoning=row["reasoning"] or "")

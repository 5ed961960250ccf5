"""Revise: the teacher improves each of the policy's own answers with as few changes as possible (CLAIR, arXiv 2408.06266 §3).

One request an answer, in the journal before it is parsed. A reply that cannot be read stays in the dataset, with the reason.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from data_contracts.config_pairs import ReviseConfig
from data_contracts.store import Dataset, Rows, build
from models.chat import encode_answer, user
from models.checkpoint import Checkpoint, load_tokenizer
from models.engine import Progress, Sampling, quiet
from models.parse_revision import parse_revision
from models.prompts import render, render_task
from models.teacher import Teacher, metered
from tasks.comparison import is_same

_KEPT = ("sample_id", "prompt_id", "prompt", "prompt_ids", "text", "token_ids", "stopped", "policy")


def revise(
    folder: Path,
    samples: Dataset,
    config: ReviseConfig,
    teacher: Teacher,
    policy: Checkpoint,
    seed: int,
    progress: Progress = quiet,
) -> Dataset:
    """The "revisions" dataset: one row a sample, in the order of the samples, encoded for `policy`, which will learn from them.

    Facts: `parsed` = `changed` + `unchanged`, `failures` by reason, and `teacher` as models.teacher.metered says it.
    Raises PlumblineError if the template does not fit.
    """

    def make(_workdir: Path) -> tuple[Rows, dict[str, Any]]:
        rows, tokenizer = samples.records(), load_tokenizer(policy.path)
        asked, usage = metered(teacher)
        conversations = [user(revision_prompt(config, render_task(row["prompt"]), row["text"])) for row in rows]
        replies = asked.complete(conversations, Sampling(config.temperature, 1.0, config.max_tokens), seed, progress)
        revisions = []
        for row, reply in zip(rows, replies, strict=True):
            revision = parse_revision(reply.text, reply.finish_reason, keep_fence=row["text"].lstrip().startswith(("```", "~~~")))
            made = {
                "raw": reply.text,
                "reasoning": revision.reasoning,
                "revision": revision.text,
                "revision_ids": None if revision.text is None else encode_answer(tokenizer, revision.text),
                "failure": revision.failure,
                "teacher": teacher.name,
            }
            revisions.append({name: row[name] for name in _KEPT} | made)
        return revisions, _facts(revisions) | {"teacher": usage(folder)}

    slice_ = {**config.model_dump(mode="json", exclude_none=True), "seed": seed}
    return build(folder, "revisions", slice_, make, [samples], {"teacher": teacher.name})


def revision_prompt(config: ReviseConfig, task: str, student_solution: str) -> str:
    """Raises PlumblineError if the template is filled from other things, or wants a rubric and there is none."""
    rubric = {} if config.rubric is None else {"rubric": config.rubric}
    return render(config.template or "minimal-1", task=task, student_solution=student_solution, **rubric)


def _facts(rows: Rows) -> dict[str, Any]:
    parsed = [r for r in rows if r["revision"] is not None]
    changed = [r for r in parsed if not is_same(r["revision"], r["text"])]
    return {
        "samples": len(rows),
        "parsed": len(parsed),
        "changed": len(changed),
        "unchanged": len(parsed) - len(changed),
        "failures": dict(Counter(r["failure"] for r in rows if r["failure"]).most_common()),
    }

"""The card beside the checkpoints: `card.json` for programs, `card.md` for people, of one content."""

import json
from pathlib import Path

from models.embedded.facts import FAMILIES


def write_card(out: Path, card: dict) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "card.md").write_text(render(card), encoding="utf-8")


def _row(label: str, figures: dict) -> str:
    cells = [f"{figures[f]:.3f}" if f in figures else "–" for f in FAMILIES]
    return f"| {label} | {figures['all']:.3f} ({figures['se']:.3f}) | {figures['n']} | {' | '.join(cells)} |"


def render(card: dict) -> str:
    student, teacher = card["student"], card["teacher"]
    revision, judge = teacher["revision"], teacher["judge"]
    header = f"| all (SE) | n | {' | '.join(FAMILIES)} |\n|---|---|---|{'---|' * len(FAMILIES)}"
    training = [
        f"| {name} | {t['steps']:,} | {t['tokens_seen'] / 1e6:.2f} | {t['seconds']:.0f} | {t['loss']:.3f} "
        f"| {t['adamw']:g} | {t['muon']:g} | {t['decay']:g} |"
        for name, t in card["training"].items()
    ]
    examples = [f"| {e['prompt']} | {e['draft'] or '(empty)'} | {e['revision']} |" for e in revision["examples"]]
    newline = "\n"
    return f"""# The embedded student and teacher

Two Llama checkpoints of {card["parameters"]:,} parameters (untied, fp32, vocabulary {card["vocabulary"]}) that let the whole
loop run anywhere. They know one invented world, defined in `facts.py` and `world.py`, and nothing else: no outside
text and no other model went into them, and every answer can be checked exactly. They are for demonstrations and
tests. A result on them says that the loop works, not that a method will help a real model.

## How they were made

`plumbline embedded build`, scale {card["scale"]:g}, seed {card["seed"]}: {card["seconds"]} s in all.
Threads: {card["threads"]}. torch {card["torch"]}. {card.get("note", "")}
Teacher and student both start from the base. Budgets are steps, so a seed gives the same weights again on the same
machine and libraries. The student was taught wrong on purpose, and briefly: the base knew better.

| stage | steps | Mtokens | s | final loss | AdamW | Muon | decay |
|---|---|---|---|---|---|---|---|
{newline.join(training)}

## What they can do

Share of right answers, by an exact checker that allows five one-sentence styles (or the one word asked for) and no
rambling. Questions: the held-out test split, whose wordings and number pairs no training saw.

| model {header}
{_row("base (not shipped)", card["base"])}
{_row("student, greedy", student["greedy"])}
{_row("student, sampled at 1.0", student["sampled"])}
{_row("teacher, greedy", teacher["tasks"])}

The teacher's revisions of the student's own samples (temperature 1.0), on prompts of `data/prompts.jsonl`:

| revision {header}
{_row("before", revision["before"])}
{_row("after", revision["after"])}

Replies that parse: {revision["parsed"]:.2%}. Right answers spoiled: {revision["right_answers_spoiled"]}.
Answers changed: {revision["pairs"]}, of which {revision["pairs_won_by_a_right_answer"]} became right.
Words that a draft shares with its revision: {revision["shared_words"]:.3f} (Jaccard).

The `likelihood` judge (the teacher's log-probability of each answer) was given two samples a prompt. Of {judge["decidable"]}
pairs of which exactly one was right, it chose the right one in {judge["right"]}. Judging by generation was tried and failed.

| prompt | student | teacher's revision |
|---|---|---|
{newline.join(examples)}

## Limits

English of a few hundred words, one turn, no system message, 2,048 positions (trained on the first hundred or so). Foreign
text is encoded (as bytes) but not understood. Option letters, and comparing numbers that differ in both digits, were tried and
not learned: neither is asked.

sha256 of the weights:

    student {card["sha256"]["student"]}
    teacher {card["sha256"]["teacher"]}
"""

"""A rubric says what the labels were given by, and says nothing where they were given by nothing."""

import random
import re

import pytest

from data_contracts.config_judge import JudgeConfig
from data_contracts.config_rubric import DeriveConfig
from data_contracts.errors import PlumblineError
from data_contracts.rubric import dump_rubric, load_rubric
from models.journal import Reply
from models.parse_judgement import parse_principles
from models.teacher import Teacher
from tasks.comparison import Comparison
from tasks.derive_rubric import cluster, derive_rubric, vote
from tasks.judge import compare, judge_name

POLITE = (
    *("Prefer the answer that is polite.", "Prefer the answer that is polite to the reader."),
    "Prefer the answer which is polite.",
)
BLUE = ("Prefer the answer that mentions blue.", "Prefer the answer that mentions the colour blue.")
SHOUT = "Prefer the answer that shouts."  # proposed, and true of no answer: it decides nothing


def labelled(count=80, seed=0, shuffled=False):
    """One of two answers is polite, one mentions blue, independently; the polite one is preferred, or nobody knows why."""
    rng, rows = random.Random(seed), []
    for i in range(count):
        blue = rng.choice([0, 1])
        texts = [f"{'Please' if k == 0 else 'Well'}, it is {'blue' if blue == k else 'red'} number {i}." for k in (0, 1)]
        if shuffled:
            rng.shuffle(texts)
        rows.append(Comparison([{"role": "user", "content": f"What is number {i}?"}], *texts))
    return rows


def scripted(asked=None):
    """Proposes rules about what differs, in changing words, and applies a rule to the letter."""

    def reply(message):
        body = message.split("-----------------")[1]
        a, b = (part.strip() for part in re.split(r"\{answer_[ab]\}: ", body)[1:])
        if asked is not None:
            asked.append(message)
        if "{new_principle}" in message:
            n = int(re.search(r"number (\d+)", a)[1])
            colour = BLUE[n % 2] if "blue" in a else "Prefer the answer that mentions red."
            return f"They differ.\n{{new_principle}}: {POLITE[n % 3]}\n{{new_principle}}: {SHOUT if n % 5 == 0 else colour}"
        rule = message.split("{judging_criteria}:")[1].split("\n\n")[0]
        word = "Please" if "polite" in rule else "blue" if "blue" in rule else "red" if "red" in rule else "!"
        said = "tie" if (word in a) == (word in b) else "A" if word in a else "B"
        return f"{{preferred}}: {said}"

    return Teacher("scripted", lambda conversations, *_: [Reply(reply(c[0]["content"]), "stop") for c in conversations])


def test_the_planted_principle_is_found_and_the_others_are_not(tmp_path):
    made, tried = derive_rubric(labelled(), DeriveConfig(candidates=4), JudgeConfig(), scripted(), 0)
    assert made is not None and all("polite" in c.text for c in made.criteria)
    best = made.criteria[0].evidence
    assert (best.accuracy, best.decided, best.pairs) == (1.0, 40, 40) and 0.5 < best.low < 1.0
    assert {c.text for c in tried if not c.is_kept} & {*BLUE, SHOUT, "Prefer the answer that mentions red."}
    shout = [c.evidence for c in tried if c.text == SHOUT]
    assert all((e.decided, e.low, e.high) == (0, 0.0, 1.0) for e in shout)
    path = tmp_path / "rubric.yaml"
    path.write_text(dump_rubric(made))
    assert load_rubric(path) == made
    judge = JudgeConfig(rubric=str(path))
    assert {v.outcome for v in compare(labelled(seed=1)[:10], judge, scripted(), 0)} == {"first"}
    assert judge_name(judge, scripted()) == "pairwise-by-1, derived-1/scripted"


@pytest.mark.parametrize("seed", range(5))
def test_labels_without_a_reason_give_no_rubric(seed):
    made, tried = derive_rubric(labelled(seed=seed, shuffled=True), DeriveConfig(candidates=4), JudgeConfig(), scripted(), seed)
    assert made is None and tried and all(c.evidence.low <= 0.5 for c in tried)


def test_a_prompts_pairs_are_one_observation_however_many_there_are():
    """The polite answer is preferred to 12 of 16 prompts: asked five times of each, that is no more than asked once."""
    pairs = [c if i < 12 else c.swap() for i, c in enumerate(labelled(16))]
    once, often = (vote(POLITE[0], pairs * times, JudgeConfig(), scripted(), 0, 0.95) for times in (1, 5))
    assert (once.accuracy, once.low, once.high) == pytest.approx((often.accuracy, often.low, often.high))
    assert (once.decided, often.decided, often.pairs) == (16, 80, 80)
    assert once.low < 0.52  # the control: 60 of 80 independent pairs would have given .645
    uneven = vote(POLITE[0], [*pairs, *pairs[:1] * 20], JudgeConfig(), scripted(), 0, 0.95)
    assert (
        uneven.accuracy == pytest.approx(0.75) and uneven.decided == 36
    )  # one prompt's many pairs count no more than another's one


def test_no_prompt_both_proposes_and_votes_and_votes_are_asked_both_ways_round():
    asked: list[str] = []
    _, tried = derive_rubric(labelled(), DeriveConfig(candidates=3), JudgeConfig(), scripted(asked), 0)
    task = re.compile(r"\{task\}: What is number (\d+)")
    proposing = {task.search(m)[1] for m in asked if "{new_principle}" in m}
    voting = [task.search(m)[1] for m in asked if "{new_principle}" not in m]
    assert not proposing & set(voting) and len(proposing) == len(set(voting)) == 40
    assert len(voting) == 2 * 40 * len(tried)


def test_like_worded_principles_form_one_group():
    groups = cluster([*POLITE * 4, *BLUE * 3, SHOUT], 3)
    assert [size for _, size in groups] == [12, 6, 1]
    assert groups[0][0] in POLITE and groups[1][0] in BLUE and groups[2][0] == SHOUT
    assert cluster(["b", "a", "b"], 5) == [("b", 2), ("a", 1)]


def test_too_few_pairs_and_a_teacher_without_ideas_are_told():
    with pytest.raises(PlumblineError, match="too few to derive a rubric"):
        derive_rubric(labelled(10), DeriveConfig(), JudgeConfig(), scripted(), 0)
    mute = Teacher("mute", lambda conversations, *_: [Reply("I like it.", "stop") for _ in conversations])
    with pytest.raises(PlumblineError, match="proposed no principle"):
        derive_rubric(labelled(), DeriveConfig(), JudgeConfig(), mute, 0)


def test_principles_are_lines_of_their_own():
    raw = "The {new_principle}: no.\n- {new_principle}: **Be kind.**\n{new_principle}: Be kind.\n{new_principle}: " + "x" * 600
    assert parse_principles(raw) == ["Be kind."]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("name: a b\ncriteria: [{text: x}]", "name"), ("name: a\ncriteria: []", "criteria"), ("- 1", "the file")),
        *(("a: [", "not valid YAML"), ("[" * 3000, "nests too deeply"), ("name: a\nname: b", "twice")),
        *(
            ("name: 2026-99-99", "criteria"),
            (f"name: a\ncriteria: {'9' * 5000}", "not valid YAML"),
            ("name: \udcff", "not UTF-8"),
        ),
    ],
)
def test_a_damaged_rubric_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "rubric.yaml"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(PlumblineError, match=said):
        load_rubric(path)

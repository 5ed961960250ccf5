"""Every kind of judge speaks the same language, whatever it is asked and however its reply is read."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.config_judge import JudgeConfig, check_judge
from data_contracts.errors import PlumblineError
from data_contracts.store import build
from models.journal import Reply
from models.teacher import Teacher
from tasks.comparison import SWAPPED, by_votes, mutual_information, scored
from tasks.criteria import check_templates
from tasks.judge import agreement, compare, judge, judge_name, judge_slice
from tasks.rate import rate, rated_rows, samples_in
from tests.tasks.test_judge import COMPARISONS, sample

CRITERION = "An answer should be long."


def shown(message: str) -> str:
    return message.split("-----------------")[1]


def answers_in(message: str) -> list[str]:
    return [part.strip() for part in re.split(r"\{(?:answer_\w+|given_answer)\}: ", shown(message))[1:]]


def by_length(asked: list[str] | None = None, first_bonus: float = 0.0) -> Teacher:
    """Likes long answers, whatever the question's form; `first_bonus` nats for the answer shown first."""

    def complete(conversations, sampling, seed, progress):
        return [Reply(reply(c[-1]["content"]), "stop") for c in conversations]

    def reply(message):
        if asked is not None:
            asked.append(message)
        texts, end = answers_in(message), message[-800:]
        if "{chosen_criterion}" in end:
            return f"Somebody asks.\n{{chosen_criterion}}: {CRITERION}"
        if "{final_score}" in end:
            return f"<think>{{final_score}}: 1</think>Well.\n{{final_score}}: {min(10, len(texts[0]))}"
        if "{point_" in message:
            return f"{{point_1}}: {'yes' if len(texts[0]) > 6 else 'no'} - by count\n{{point_2}}: no"
        if "{final_ranking}" in end:
            order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
            return "I compare.\n{final_ranking}: " + " > ".join(str(i + 1) for i in order)
        return "{preferred}: " + ("A" if len(texts[0]) > len(texts[1]) else "B")

    def weigh(conversations, choices):
        rows = []
        for messages in conversations:
            texts = answers_in(messages[0]["content"])
            if list(choices) == ["A", "B"]:
                rows.append([0.1 * len(texts[0]) + first_bonus, 0.1 * len(texts[1])])
            elif list(choices) == ["yes", "no"]:
                rows.append([math.log(0.75), math.log(0.25)] if len(texts[0]) > 6 else [math.log(0.25), math.log(0.75)])
            else:
                rows.append([0.0 if int(c) == min(10, len(texts[0])) else -math.inf for c in choices])
        return rows

    def choose(conversations, choices, sampling, seed, progress):
        rows = weigh(conversations, [c for c in choices if c != "tie"])
        return [Reply(choices[max(range(len(row)), key=row.__getitem__)], "stop") for row in rows]

    def score(conversations, texts):
        asked = zip(conversations, texts, strict=True)
        return [logp(c, t) if "Reply with the verdict alone" in c[-1]["content"] else len(t) for c, t in asked]

    def logp(conversation, text):
        choices = conversation[-1]["content"].split("one of: ")[1].strip().split(" / ")
        return weigh([conversation], choices)[0][choices.index(text)]

    return Teacher("length", complete, score, choose=choose)


ALL = [
    JudgeConfig(kind=kind, verdict=verdict)
    for kind in ("generation", "pointwise", "checklist", "listwise")
    for verdict in ("text", "choice", "probability")
    if kind != "listwise" or verdict == "text"
]
ALL += [
    JudgeConfig(kind="likelihood"),
    JudgeConfig(verdict="choice", reasoning=True),
    JudgeConfig(verdict="probability", reasoning=True),
    JudgeConfig(criterion_first=True),
    JudgeConfig(kind="pointwise", criterion_first=True),
    JudgeConfig(rubric="helpful-1"),
    JudgeConfig(votes=3, temperature=1.0),
    JudgeConfig(kind="pointwise", votes=3, temperature=1.0),
]


@pytest.fixture
def two_points(tmp_path):
    path = tmp_path / "points.yaml"
    path.write_text("name: points\ncriteria:\n  - {text: is long, weight: 3.0}\n  - text: is kind\n")
    return str(path)


@pytest.mark.parametrize("config", ALL, ids=lambda c: f"{c.kind}-{c.verdict}-{c.reasoning}-{c.criterion_first}-{c.votes}")
def test_every_kind_prefers_what_it_likes_and_swapping_swaps_it(config, two_points):
    if config.kind == "checklist":
        config = config.model_copy(update={"rubric": two_points})
    check_judge(config)
    check_templates(config)
    verdicts = compare(COMPARISONS, config, by_length(), 0)
    assert [v.outcome for v in verdicts] == ["second", "first"]
    assert verdicts[0].win_probability < 0.5 < verdicts[1].win_probability
    swapped = compare([c.swap() for c in COMPARISONS], config, by_length(), 0)
    assert [v.outcome for v in swapped] == ["first", "second"]
    for there, back in zip(verdicts, swapped, strict=True):
        assert there.win_probability == pytest.approx(1 - back.win_probability)
    facts = agreement(COMPARISONS, verdicts)
    if config.kind in ("pointwise", "checklist", "likelihood"):
        assert facts["orders_agree"] is None and verdicts[0].first_score < verdicts[0].second_score
    else:
        assert (facts["orders_agree"], facts["first_position"]) == (1.0, 0.5)
    assert facts["unparsed"] == 0


def test_a_probability_is_a_soft_label_whose_love_of_the_first_place_cancels():
    fair = compare(COMPARISONS, JudgeConfig(verdict="probability"), by_length(), 0)
    assert fair[0].win_probability == pytest.approx(1 / (1 + math.exp(0.1 * (len("a longer one") - len("short")))))
    biased = compare(COMPARISONS, JudgeConfig(verdict="probability"), by_length(first_bonus=50.0), 0)
    assert [v.outcome for v in biased] == ["tie", "tie"] and [round(v.win_probability, 6) for v in biased] == [0.5, 0.5]
    assert agreement(COMPARISONS, biased)["first_position"] == 1.0


def test_pointwise_probability_is_the_expected_score():
    half = [math.log(0.5) if n in (2, 5) else -math.inf for n in range(1, 11)]
    teacher = Teacher("torn", by_length().complete, lambda conversations, texts: [half[int(t) - 1] for t in texts])
    (verdict,) = compare(COMPARISONS[:1], JudgeConfig(kind="pointwise", verdict="probability"), teacher, 0)
    assert (verdict.first_score, verdict.second_score, verdict.outcome) == (3.5, 3.5, "tie")


def test_a_checklist_scores_the_weighted_share_of_points_met(two_points):
    texts = compare(COMPARISONS, JudgeConfig(kind="checklist", rubric=two_points), by_length(), 0)
    assert [(v.first_score, v.second_score) for v in texts] == [(0.0, 0.75), (0.75, 0.0)]
    config = JudgeConfig(kind="checklist", verdict="probability", rubric=two_points)
    assert [v.first_score for v in compare(COMPARISONS, config, by_length(), 0)] == pytest.approx([0.25, 0.75])


def test_reasons_come_before_the_bare_verdict_and_a_criterion_before_the_answers():
    asked: list[str] = []
    compare(COMPARISONS[:1], JudgeConfig(verdict="probability", reasoning=True), by_length(asked), 0)
    assert len(asked) == 2 and all("reasoning" in m and "Reply with the verdict" not in m for m in asked)
    asked.clear()
    (verdict,) = compare(COMPARISONS[:1], JudgeConfig(criterion_first=True), by_length(asked), 0)
    assert len(asked) == 3 and verdict.criterion == CRITERION
    assert "a longer one" not in asked[0] and all(CRITERION in m for m in asked[1:])


def test_votes_that_disagree_are_uncertain_and_a_judge_that_loves_the_first_place_is_not():
    turns = iter("ABABABAB" * 2)
    moody = Teacher("moody", lambda conversations, *_: [Reply(f"{{preferred}}: {next(turns)}", "stop") for _ in conversations])
    config = JudgeConfig(votes=2, temperature=1.0)
    (first, _) = compare(COMPARISONS, config, moody, 0)  # forward A, B; backward A, B: vote 1 is torn, vote 2 is torn
    assert first.outcome == "tie" and first.uncertainty == pytest.approx(0.0)
    always = Teacher("always", lambda conversations, *_: [Reply("{preferred}: A", "stop") for _ in conversations])
    (first, _) = compare(COMPARISONS, config, always, 0)
    assert (first.outcome, first.win_probability, first.uncertainty) == ("tie", 0.5, 0.0)
    assert mutual_information([[1.0, 1.0], [0.0, 0.0]]) == pytest.approx(math.log(2))
    assert mutual_information([[0.9], [0.7]]) == pytest.approx(0.03243, abs=1e-5)  # H(.8) - (H(.9) + H(.7)) / 2
    assert mutual_information([[0.9]]) is None


def test_the_verdict_of_most_votes_counts_and_the_probability_is_their_share():
    votes = iter("AAB" + "BBA")  # forward, then swapped
    teacher = Teacher("t", lambda conversations, *_: [Reply(f"{{preferred}}: {next(votes)}", "stop") for _ in conversations])
    (verdict,) = compare(COMPARISONS[:1], JudgeConfig(votes=3, temperature=1.0), teacher, 0)
    assert (verdict.forward, verdict.backward, verdict.outcome) == ("first", "first", "first")
    assert verdict.win_probability == pytest.approx(2 / 3) and 0 < verdict.uncertainty < math.log(2)


EIGHTHS = st.one_of(st.none(), st.integers(0, 8).map(lambda n: n / 8))  # sums of these are exact


@settings(deadline=None)
@given(st.lists(st.tuples(EIGHTHS, EIGHTHS), min_size=1, max_size=5))
def test_no_judge_that_is_shown_both_answers_contradicts_its_own_probability(votes):
    forward, backward = map(list, zip(*votes, strict=True))
    said = by_votes(forward, backward)
    assert {"first": said.win_probability > 0.5, "second": said.win_probability < 0.5, "tie": True}[said.outcome]
    assert said.outcome == "tie" or said.forward == said.backward == said.outcome
    turned = by_votes(*([None if share is None else 1 - share for share in shares] for shares in (backward, forward)))
    assert (turned.backward, turned.forward, turned.outcome) == tuple(
        SWAPPED[verdict] for verdict in (said.forward, said.backward, said.outcome)
    )
    assert turned.win_probability == pytest.approx(1 - said.win_probability)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.one_of(st.none(), st.integers(1, 10).map(float))] * 2), min_size=1, max_size=5))
def test_no_judge_that_scores_contradicts_its_own_scores_or_its_probability(votes):
    said = scored(*zip(*votes, strict=True))
    if said.outcome != "tie":
        ahead = said.first_score > said.second_score
        assert ahead == (said.win_probability > 0.5) == (said.outcome == "first") and said.win_probability != 0.5
        assert said.first_score != said.second_score


def test_a_verdict_is_that_of_the_mean_probability_not_of_the_most_votes():
    """Two votes lean to the first answer, the third is sure of the second: the mean is .4, and so the second wins."""
    assert by_votes([0.6, 0.6, 0.0], [0.6, 0.6, 0.0]).outcome == "second"
    assert by_votes([1.0, 0.5, 0.5], [1.0, None, 0.5]).outcome == "first"  # a tie and an unread vote take no side
    half = by_votes([None, None], [1.0, 1.0])
    assert (half.forward, half.backward, half.outcome, half.win_probability) == ("unparsed", "first", "tie", 0.75)
    # 9, 4, 4 against 1, 5, 5: the higher mean, and the fewer votes won
    torn = scored([9.0, 4.0, 4.0], [1.0, 5.0, 5.0])
    assert (torn.outcome, torn.first_score > torn.second_score, torn.win_probability) == ("tie", True, pytest.approx(1 / 3))
    assert scored([9.0, 4.0, 6.0], [1.0, 5.0, 5.0]).outcome == "first"


def test_what_a_scoring_judge_did_not_say_is_no_score():
    mute = Teacher("mute", lambda conversations, *_: [Reply("Hm.", "stop") for _ in conversations])
    (verdict,) = compare(COMPARISONS[:1], JudgeConfig(kind="pointwise"), mute, 0)
    assert (verdict.forward, verdict.outcome, verdict.first_score, verdict.win_probability) == ("unparsed", "tie", None, 0.5)
    assert agreement(COMPARISONS[:1], [verdict])["unparsed"] == 1


@pytest.mark.parametrize("kind", ["generation", "pointwise", "checklist"])
def test_what_a_reply_gives_no_probability_for_is_unread_and_takes_no_side(kind, two_points):
    """As when a judge's prompt does not fit its context: it would be a tie of two fives, or a score of 5.5."""
    blind = Teacher("blind", by_length().complete, lambda _, texts: [-math.inf] * len(texts))
    rubric = two_points if kind == "checklist" else None
    (verdict,) = compare(COMPARISONS[:1], JudgeConfig(kind=kind, verdict="probability", rubric=rubric), blind, 0)
    assert (verdict.forward, verdict.outcome, verdict.first_score, verdict.win_probability) == ("unparsed", "tie", None, 0.5)
    with pytest.raises(PlumblineError, match="2 of 2 answers leave no room"):
        compare(COMPARISONS[:1], JudgeConfig(kind="likelihood"), blind, 0)


def dataset(tmp_path, texts):
    rows = [sample("p", i, text) for i, text in enumerate(texts)] + [sample("q", 0, "alone")]
    return build(tmp_path / "sample", "samples", {}, lambda _: (rows, {}))


def test_a_listwise_judge_sees_each_list_whole_in_both_orders(tmp_path):
    asked: list[str] = []
    samples = dataset(tmp_path, ["bb", "a", "cccc", "ddd"])
    made = judge(tmp_path / "judge", samples, JudgeConfig(kind="listwise"), by_length(asked), 0)
    assert [answers_in(m) for m in asked] == [["bb", "a", "cccc", "ddd"], ["ddd", "cccc", "a", "bb"]]
    assert [r["outcome"] for r in made.records()] == ["first", "second", "second", "second", "second", "first"]
    first = Teacher("first", lambda conversations, *_: [Reply("{final_ranking}: 1 > 2 > 3 > 4", "stop") for _ in conversations])
    made = judge(tmp_path / "first", samples, JudgeConfig(kind="listwise"), first, 0)
    assert {r["outcome"] for r in made.records()} == {"tie"} and made.facts["first_position"] == 1.0


@pytest.mark.parametrize("kind", ["generation", "listwise", "pointwise", "likelihood"])
def test_scores_rank_the_answers_of_each_prompt(tmp_path, kind):
    samples = dataset(tmp_path, ["bb", "a", "cccc", "ddd", "bb"])
    made = rate(tmp_path / "score", samples, JudgeConfig(kind=kind), by_length(), 0)
    got = {r["sample_id"]: (r["score"], r["rank"]) for r in made.records()}
    assert [got[f"p/{i}"][1] for i in (1, 3, 2)] == [5, 2, 1] and got["q/0"][1] == 1
    if kind in ("generation", "listwise"):
        assert [got[f"p/{i}"][0] for i in range(5)] == [0.375, 0.0, 1.0, 0.75, 0.375] and got["q/0"][0] == 0.5
    else:
        assert [got[f"p/{i}"] for i in (0, 4)] == [(2.0, 3), (2.0, 3)]


def test_the_win_matrix_resolves_a_circle_by_the_best_order(tmp_path):
    beats = {("a", "b"): 0.9, ("b", "c"): 0.8, ("c", "a"): 0.6}

    def score(conversations, texts):
        pairs = [tuple(answers_in(c[0]["content"])) for c in conversations]
        wins = [beats[p] if p in beats else 1 - beats[p[::-1]] for p in pairs]
        return [math.log(p if text == "A" else 1 - p) for p, text in zip(wins, texts, strict=True)]

    teacher = Teacher("circle", by_length().complete, score)
    rows = [sample("p", i, text) for i, text in enumerate("cab")]
    samples = build(tmp_path / "sample", "samples", {}, lambda _: (rows, {}))
    made = rate(tmp_path / "score", samples, JudgeConfig(verdict="probability"), teacher, 0)
    ranks = {row["sample_id"]: row["rank"] for row in made.records()}
    assert [ranks[f"p/{i}"] for i in range(3)] == [3, 1, 2]  # a > b > c agrees by .9 + .8 + .4, more than any other order


def test_a_file_of_answers_is_rated_line_by_line(tmp_path):
    file = tmp_path / "answers.jsonl"
    told = [("p", "bb"), ("q", "alone"), ("p", "dddd"), ("p", "ccc")]
    file.write_text("\n\n".join(json.dumps({"ask": {"text": q}, "said": a}) for q, a in told))
    samples = samples_in(file, tmp_path / "answers", {"prompt": "ask.text", "answer": "said"})
    rows = rated_rows(samples, rate(tmp_path / "scores", samples, JudgeConfig(), by_length(), 0))
    assert [(r["prompt"][0]["content"], r["answer"], r["score"], r["rank"]) for r in rows] == [
        *(("p", "bb", 0.0, 3), ("q", "alone", 0.5, 1), ("p", "dddd", 1.0, 1), ("p", "ccc", 0.5, 2)),
    ]
    assert samples_in(tmp_path / "answers", tmp_path / "unused", {}).key == samples.key  # as does a run's folder of samples


@pytest.mark.parametrize(
    ("line", "names", "said"),
    [
        *(
            ('{"prompt": "p"}', {}, "answers.jsonl:1 has no text 'answer'"),
            ("", {}, "is empty"),
            ("{", {}, "answers.jsonl:1 is not"),
        ),
        *(
            ('{"prompt": [], "answer": "x"}', {}, "answers.jsonl:1: prompt must be"),
            ("{}", {"anwser": "x"}, "anwser=… is not a field"),
        ),
    ],
)
def test_answers_that_cannot_be_read_are_named(tmp_path, line, names, said):
    (tmp_path / "answers.jsonl").write_text(line)
    with pytest.raises(PlumblineError, match=said):
        samples_in(tmp_path / "answers.jsonl", tmp_path / "answers", names)
    with pytest.raises(PlumblineError, match="no file"):
        samples_in(tmp_path / "none.jsonl", tmp_path / "answers", {})
    build(tmp_path / "prompts", "prompts", {}, lambda _: ([], {}))
    with pytest.raises(PlumblineError, match="holds prompts and no samples"):
        samples_in(tmp_path / "prompts", tmp_path / "answers", {})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "likelihood", "votes": 2, "temperature": 1.0}, "asks no question, so judge.votes"),
        ({"kind": "listwise", "verdict": "choice"}, "listwise is read from text"),
        ({"reasoning": True}, "goes with the verdicts choice and probability"),
        ({"votes": 2}, "gives 2 equal votes"),
        ({"votes": 2, "verdict": "probability", "temperature": 1.0}, "the same at every vote"),
        ({"criterion_first": True, "rubric": "helpful-1"}, "take away the rubric"),
        ({"kind": "preference_model"}, "judge.model, the folder of a preference model"),
        ({"model": "x"}, "goes with preference_model only"),
    ],
)
def test_settings_that_contradict_each_other_are_one_sentence(settings, said):
    with pytest.raises(PlumblineError, match=said):
        check_judge(JudgeConfig(**settings))


def test_a_teacher_that_only_writes_is_told_what_it_cannot_do():
    writer = Teacher("writer", by_length().complete)
    for verdict in ("choice", "probability"):
        with pytest.raises(PlumblineError, match=f"judge.verdict {verdict} needs"):
            compare(COMPARISONS, JudgeConfig(verdict=verdict), writer, 0)
    with pytest.raises(PlumblineError, match="choice needs a local teacher"):
        check_judge(JudgeConfig(verdict="choice"), teacher_writes_only=True)


@pytest.mark.parametrize(
    "settings",
    [{"template": "score-1"}, {"kind": "pointwise", "template": "pairwise-1"}, {"template": "pairwise-1", "rubric": "helpful-1"}],
)
def test_a_template_for_another_kind_is_refused(settings):
    with pytest.raises(PlumblineError, match="the prompt template"):
        check_templates(JudgeConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "preference_model", "model": "no-such"}, "holds no preference model"),
        ({"rubric": "no-such"}, "there is no rubric"),
    ],
)
def test_a_missing_rubric_or_model_is_told_before_anything_starts(settings, said):
    with pytest.raises(PlumblineError, match=said):
        check_templates(JudgeConfig(**settings))


def test_a_changed_rubric_is_another_judge(two_points):
    config = JudgeConfig(kind="pointwise", rubric=two_points)
    before = judge_slice(config, 0)
    elsewhere = Path(two_points).rename(Path(two_points).with_name("moved.yaml"))
    assert judge_slice(JudgeConfig(kind="pointwise", rubric=str(elsewhere)), 0) == before  # what it says counts, not its name
    elsewhere.rename(two_points)
    with open(two_points, "a") as file:
        file.write("  - text: is true\n")
    assert judge_slice(config, 0) != before
    assert judge_name(config, by_length()) == "score-1, points/length"
    assert judge_name(JudgeConfig(), by_length()) == "pairwise-1/length"


@pytest.mark.engine
def test_the_engine_constrains_and_weighs_verdicts(tmp_path, engine, teacher):
    from models.engine import Sampling, quiet
    from models.journal import Journal
    from models.teacher import local_teacher
    from models.teachers.weigh import weigh

    journal = Journal(tmp_path / "journal.db")
    local = local_teacher(lambda: engine, teacher, journal)
    conversations = [[{"role": "user", "content": f"What is {n} plus 31?"}] for n in (1, 2, 3)]
    sampling = Sampling(1.0, 1.0, 16)
    replies = local.choose(conversations, ("A", "B", "tie"), sampling, 0, quiet)
    assert all(r.text in ("A", "B", "tie") and r.finish_reason == "stop" for r in replies)
    assert all(r.text not in ("A", "B", "tie") for r in local.complete(conversations, sampling, 0, quiet))
    assert local.choose(conversations, ("A", "B", "tie"), sampling, 0, quiet) == replies and journal.count() == 6
    (weights, *_) = weigh(local, conversations, ("1 plus 31 is 32.", "1 plus 31 is 33."), quiet)
    assert weights[0] > weights[1] + 3

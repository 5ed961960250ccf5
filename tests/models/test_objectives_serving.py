"""What data can serve: from the config before the run, from the columns before training, and combinations that make no sense."""

import pytest

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from models.objectives import REGISTRY, build_objective
from models.objectives.catalogue import default_config
from models.objectives.serving import data_serves, far_reference, refuse_config, refuse_data, refuse_training, takes_lists
from tests.conftest import ROOT
from tests.pairs_dataset import full_rows, lists_dataset, pair_rows, pairs_dataset

JUDGED = ("method=on_policy_judge", "sample.n=4")


def config(name, *sets):
    return load_config(ROOT / "configs" / "demo.yaml", [f"align.objective={{name: {name}}}", *sets])


def human(tmp_path, name, line, *sets):
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"no json\n{line}\n")
    return load_config(ROOT / "configs" / "human_pairs.yaml", [f"align.objective={{name: {name}}}", f"pairs.file={file}", *sets])


@pytest.mark.parametrize("name", REGISTRY)
def test_every_objective_is_reached_by_some_config(name):
    """By revisions, judged samples or (apo_down) worsened copies, with the local teacher's likelihood judge."""
    reached = []
    for sets in ((), ("align.second_reference=previous",), JUDGED, ("method=worst_revision", "revise.template=worsen-1")):
        try:
            refuse_config(config(name, *sets))
            reached.append(sets)
        except PlumblineError:
            continue
    assert reached


@pytest.mark.parametrize(
    "name,sets,words",
    [
        ("sppo_hard", (), "needs the present policy's own samples, which this data does not have: use method on_policy_judge"),
        ("odpo", ("judge.kind=generation",), "needs a judge's score for each answer.*set judge.kind to one that scores"),
        ("upo_uncertainty", ("judge.kind=generation",), "the judge's uncertainty about each pair.*set judge.votes to 2 or more"),
        ("rationale_dpo", JUDGED, "needs a rationale for each pair.*use method clair"),
        ("mrpo", (), "needs two or more reference models.*set align.second_reference"),
        ("apo_down", (), "those of method clair are better than what the policy writes.*use apo_zero, or apo_auto"),
        ("apo_auto", JUDGED, "takes the rejected answers .* both answers of a pair are: set align.objective.own to both"),
        (
            "apo_auto",
            ("align.objective.own=both",),
            "of method clair the rejected answers are: set align.objective.own to rejected",
        ),
        ("apo_auto", ("method=worst_revision", "revise.template=worsen-1"), "rejected answers of method worst_revision are not"),
        ("grpo", (), "the present policy's own samples"),
        ("grpo", (*JUDGED, "sample.temperature=0.7"), r"sample.temperature 0.7 .* set it to 1.0"),
        ("pairwise_rl", ("method=on_policy_judge", "sample.n=2"), "set sample.n to 3 or more"),
        ("pairwise_rl", (*JUDGED, "align.reference=initial"), "only with align.reference previous"),
        ("simpo", ("align.reference=initial",), "simpo uses no reference model"),
        ("dpo", ("align.second_reference=initial",), "looks at one reference model"),
        ("dpo", ("align.reference=ema", "align.lora={rank: 4}"), "needs all its weights"),
        ("mrpo", ("align.second_reference=initial", "align.reference=ema"), "measures against fixed references"),
        ("dpo", ("align.reference=ema", "align.curriculum={stages: 3}"), "both move the reference"),
        ("lipo", (*JUDGED, "align.curriculum={stages: 3}"), "orders pairs"),
        ("simpo", ("align.curriculum={stages: 3}",), "set curriculum.by to margin"),
        ("dpo", ("align.curriculum={by: margin}", "judge.kind=generation"), "needs a judge that scores answers"),
        ("dpo", ("align.momentum=0.3", "align.reference=extrapolated"), "use reference previous with it"),
        ("dpo", ("align.reference=ema",), "ema.every is 512 and training takes 100 steps at most, so the reference would never"),
        ("dpo", ("align.reference=ema", "align.ema.every=100"), "takes 100 steps at most"),
        ("dpo", ("align.reference=ema", "align.ema.every=132", "pairs.replay=[0.3]"), "takes 132 steps at most"),
        ("dpo", ("align.early_stop={every: 100}",), "early_stop.every is 100 .* so it could never stop early"),
        ("lipo", (*JUDGED, "pairs.second_view={kind: generation}"), "pairs.second_view would do nothing"),
        ("lipo", (*JUDGED, "pairs.replay=[0.3]"), "pairs.replay would do nothing"),
        ("sppo_hard", (*JUDGED, "pairs.replay=[0.3]"), "pairs.replay brings those of earlier ones"),
    ],
)
def test_what_a_run_cannot_serve_is_one_sentence_before_it_starts(name, sets, words):
    with pytest.raises(PlumblineError, match=words):
        refuse_config(config(name, *sets))


def test_combinations_that_make_sense_are_let_through():
    for name, sets in (
        ("apo_down", ("align.objective.even_if_chosen_is_better=true",)),
        ("apo_auto", ()),
        ("apo_auto", (*JUDGED, "align.objective.own=both")),
        ("dpo", ("align.reference=ema", "align.ema.every=99")),
        ("dpo", ("align.early_stop={every: 99}",)),
        ("dpo", ("align.reference=extrapolated",)),
        ("dpo", ("align.momentum=0.3",)),
        ("simpo", ("align.curriculum={by: margin}",)),
        ("mrpo", (f"align.second_reference={ROOT}/models/embedded/teacher",)),
        ("lipo", (*JUDGED, "align.reference=ema", "align.ema.every=99")),
        ("lipo", ()),
        ("lipo", ("pairs.replay=[0.3]", "pairs.second_view={kind: generation}")),  # lists of two, made of the pairs
        ("dpo", (*JUDGED, "pairs.replay=[0.3]")),
        ("dpo", ("align.wrappers={weight_by: judge_margin}",)),
    ):
        refuse_config(config(name, *sets))


def test_a_preference_file_serves_what_its_first_readable_line_promises(tmp_path):
    plain, scored = '{"prompt": "a", "chosen": "b", "rejected": "c"', ', "chosen_score": 2.0, "rejected_score": 1.0'
    refuse_config(human(tmp_path, "odpo", plain + scored + "}"))
    refuse_config(human(tmp_path, "odpo", plain + ', "score_chosen": 8.0, "score_rejected": 3.5}'))
    with pytest.raises(PlumblineError, match="needs a judge's score"):
        refuse_config(human(tmp_path, "odpo", plain + ', "chosen_score": 2.0}'))
    with pytest.raises(PlumblineError, match="a preference file holds pairs"):
        refuse_config(human(tmp_path, "lipo", plain + "}"))
    with pytest.raises(PlumblineError, match=r"ema\.every is 2 and training takes 1 steps at most"):
        refuse_config(human(tmp_path, "dpo", plain + "}", "align.reference=ema", "align.ema.every=2", "align.batch_size=8"))
    for sets in ("align.momentum=0.5", "align.reference=extrapolated"):
        with pytest.raises(PlumblineError, match="flow human_pairs has none"):
            refuse_config(human(tmp_path, "dpo", plain + "}", sets))


def test_a_file_of_labelled_completions_serves_what_takes_single_answers(tmp_path):
    line = '{"prompt": "a", "completion": "b", "label": true}'
    file = tmp_path / "labels.jsonl"
    file.write_text(line + "\n")
    recorded = ("method=recorded", f"prompts.file={file}", "prompts.per_round=1")
    for name in ("kto", "bco", "apo_zero_unpaired", "sft"):
        refuse_config(human(tmp_path, name, line))
        refuse_config(config(name, *recorded))
    for name in ("dpo", "odpo"):
        for given in (human(tmp_path, name, line), config(name, *recorded)):
            with pytest.raises(PlumblineError, match=f"labelled single answers .* objective {name} compares both sides"):
                refuse_config(given)
    refuse_config(human(tmp_path, "dpo", '{"prompt": "a", "chosen": "b", "rejected": "c"}'))


def test_recorded_pairs_have_the_further_answers_that_are_in_their_file(tmp_path):
    def recorded(line):
        file = tmp_path / "pairs.jsonl"
        file.write_text(line + "\n")
        return config("triple_po", "method=recorded", f"prompts.file={file}", "prompts.per_round=1")

    refuse_config(recorded('{"prompt": "a", "chosen": "b", "rejected": "c", "gold": "d"}'))
    with pytest.raises(PlumblineError, match="needs a gold answer"):
        refuse_config(recorded('{"prompt": "a", "chosen": "b", "rejected": "c"}'))


def test_the_stages_of_a_round_are_those_its_objective_asks_for():
    def added(name, *sets):
        from tasks.serving import stages

        given = config(name, *sets).model_dump(mode="json", by_alias=True)
        done = stages(given)
        return done[done.index("validate_pairs") + 1 :] if "validate_pairs" in done else done[-2:]

    assert added("dpo") == () and added("odpo") == ("score_pairs",) and added("mapl") == ("complete",)
    assert added("triple_po") == ("further", "complete") and added("dove") == ("score_pairs", "complete")
    assert added("lipo") == ("score_pairs", "lists", "validate_lists") and added("lipo", *JUDGED) == ("lists", "validate_lists")
    assert added("dpo", "align.reference=extrapolated") == ("reference",)
    assert added("dpo", "align.curriculum={by: margin}") == ("score_pairs",)


def objective(name):
    return build_objective(default_config(name))


def test_columns_are_looked_at_before_training(tiny, tmp_path):
    whole = full_rows(tiny, 4)
    full = pairs_dataset(tmp_path / "full", tiny, 4, rows=whole)
    holed = pairs_dataset(tmp_path / "holed", tiny, 4, rows=[*whole[:3], whole[3] | {"chosen_score": None, "on_policy": None}])
    bare = pairs_dataset(tmp_path / "bare", tiny, 4, rows=pair_rows(tiny, 4))
    for name in (n for n in REGISTRY if not takes_lists(REGISTRY[n].needs)):
        refuse_data(full.folder, "pairs", tiny.hash, objective(name), second_reference=True)
    with pytest.raises(PlumblineError, match=r"a judge's score for each answer \(1 of 4 pairs lack it\)"):
        refuse_data(holed.folder, "pairs", tiny.hash, objective("odpo"), False)
    for name in ("odpo", "sppo_hard", "triple_po", "dove", "mapl", "rationale_dpo", "upo_uncertainty", "smpo"):
        with pytest.raises(PlumblineError, match="does not have"):
            refuse_data(bare.folder, "pairs", tiny.hash, objective(name), False)
    for folder, policy in ((holed.folder, tiny.hash), (full.folder, "another")):  # not all of them, or of another policy
        with pytest.raises(PlumblineError, match="own samples"):
            refuse_data(folder, "pairs", policy, objective("sppo_hard"), False)


def test_lists_serve_lists_and_pairs_serve_pairs(tiny, tmp_path):
    lists = lists_dataset(tmp_path / "lists", tiny, 3)
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 3)
    for name in (n for n in REGISTRY if takes_lists(REGISTRY[n].needs)):
        refuse_data(lists.folder, "lists", tiny.hash, objective(name), False)
        with pytest.raises(PlumblineError, match="is not trained on pairs"):
            refuse_data(pairs.folder, "pairs", tiny.hash, objective(name), False)
    with pytest.raises(PlumblineError, match="is not trained on lists"):
        refuse_data(lists.folder, "lists", tiny.hash, objective("dpo"), False)
    assert data_serves(lists.folder, "lists", tiny.hash)[1] == {}


def test_a_mixture_brings_the_needs_of_its_parts():
    align = AlignConfig.model_validate({"objective": {"name": "simpo"}, "reference": "initial"})
    with pytest.raises(PlumblineError, match="uses no reference model"):
        refuse_training(objective("simpo"), align)
    refuse_training(objective("dpo"), align)


def test_an_objective_derived_for_each_rounds_own_policy_is_doubted_where_the_reference_stays_behind():
    for name, doubtful in (("sppo_hard", True), ("dno", True), ("gpo", True), ("apo_zero", False), ("osp", False)):
        for reference in ("previous", "initial", "ema"):
            align = AlignConfig.model_validate({"objective": default_config(name), "reference": reference})
            assert bool(far_reference(align)) == (doubtful and reference == "initial"), (name, reference)
    mixed = config("apo_zero", "align.reference=initial", "align.wrappers.mix=[{objective: {name: sppo_hard}, weight: 0.5}]")
    assert "sppo_hard" in (far_reference(mixed.align) or "")

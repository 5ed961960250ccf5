"""One side of a pair alone: each such row counts as the answer it has, in the loss, in its gradient and in what is estimated."""

from dataclasses import replace

import pytest
import torch

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from models.checkpoint import load_tokenizer
from models.objectives import REGISTRY
from models.objectives.batch import Need, State
from models.objectives.one_sided import alone, refuse_one_sided
from models.objectives.wrappers import configured
from models.training.data import Example, hold_out, mismatched, read_pairs
from models.training.gradient import Given, accumulate
from models.training.inputs import read_inputs
from models.training.jobs import fresh_accelerator
from models.training.logps import all_logps
from tests.models.test_training_loop import run
from tests.pairs_dataset import pair_rows, pairs_dataset

LABELLED = [name for name in REGISTRY if Need.LABELS in REGISTRY[name].needs]
ABSENT = {f"{side}{part}": None for side in ("chosen", "rejected") for part in ("", "_ids", "_stopped")}


def half(row, side):
    """The row with one side alone."""
    other = {"chosen": "rejected", "rejected": "chosen"}[side]
    return (
        row | {name: value for name, value in ABSENT.items() if name.startswith(other)} | {"pair_id": f"{row['pair_id']}/{side}"}
    )


def split(rows, which):
    """The rows, those in `which` as two."""
    halves = [[half(row, "chosen"), half(row, "rejected")] if i in which else [row] for i, row in enumerate(rows)]
    return [row for some in halves for row in some]


def align(name="kto", **settings):
    return AlignConfig.model_validate({"objective": {"name": name}} | settings)


def given(folder, model, tiny, needs):
    """The dataset with a reference that differs from the model by what the tokens of prompt and answer say."""
    inputs = read_inputs(folder, needs, load_tokenizer(tiny.path))

    def near(examples):
        away = [[(sum(e.prompt) + 7 * sum(a)) % 11 / 10 * bool(a) for a in e.answers] for e in examples]
        return all_logps(model, examples, 10**6) - torch.tensor(away) + 0.3 * torch.tensor(away).bool()

    aux = {key: (examples, near(examples)) for key, examples in inputs.aux.items()}
    return Given(inputs.examples, near(inputs.examples)[None], {}, {}, aux)


def added(model, data, objective, tokens):
    """Sums over all rows: losses and gradient; and the objective's figures and its next state."""
    model.zero_grad()
    count = len(data.examples)
    start = State(count=5, mean=0.2)
    losses, _, figures, state = accumulate(
        model, data, list(range(count)), objective, start, tokens, fresh_accelerator("float32")
    )
    return losses.sum(), count * torch.cat([p.grad.flatten() for p in model.parameters()]), figures, state


@pytest.mark.parametrize("name", LABELLED)
def test_the_halves_of_a_pair_weigh_what_the_whole_pair_does(name, model, tiny, tmp_path):
    rows, objective = pair_rows(tiny, 6), configured(align(name).objective, align(name).wrappers)
    whole = pairs_dataset(tmp_path / "whole", tiny, 6, rows=rows)
    loss, gradient, figures, state = added(model, given(whole.folder, model, tiny, objective.needs), objective, 10**6)
    for which in (range(6), (0, 3, 4)):  # all of them, and a mixture of pairs and halves
        parted = pairs_dataset(tmp_path / f"parted-{len(which)}", tiny, 6, rows=split(rows, which))
        data = given(parted.folder, model, tiny, objective.needs)
        for tokens in (10**6, max(e.tree_tokens for e in data.examples)):
            found = added(model, data, objective, tokens)
            torch.testing.assert_close(found[0], loss, rtol=1e-5, atol=1e-5)
            assert (found[1] - gradient).norm() < 1e-5 * gradient.norm()
            assert found[2] == pytest.approx(figures, abs=1e-5)
            assert (found[3].count, found[3].mean) == (state.count, pytest.approx(state.mean, abs=1e-6))

        def blind(batch, state):  # negative control: taken for an answer at the reference, a missing side counts
            return objective(replace(batch, mask=None), state)

        blind.needs = objective.needs  # type: ignore[attr-defined]
        assert not torch.isclose(added(model, data, blind, 10**6)[0], loss, rtol=1e-2)  # type: ignore[arg-type]


def test_sft_on_good_answers_alone_is_sft_on_their_pairs(model, tiny, tmp_path):
    rows, objective = pair_rows(tiny, 4), configured(align("sft").objective, align("sft").wrappers)
    found = []
    for name, some in (("whole", rows), ("good", [half(row, "chosen") for row in rows])):
        folder = pairs_dataset(tmp_path / name, tiny, 4, rows=some).folder
        found.append(added(model, given(folder, model, tiny, objective.needs), objective, 10**6))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert (found[0][1] - found[1][1]).norm() < 1e-5 * found[0][1].norm() > 0


def test_an_answer_alone_gets_one_mismatched_answer_of_its_own_side():
    data = [
        Example("a", [1], ([10], [])),
        Example("b", [2], ([], [21])),
        Example("c", [3], ([30], [31])),
        Example("d", [1], ([], [11])),
    ]
    assert [e.answers for e in mismatched(data)] == [([30], []), ([], [31]), ([10], [11]), ([], [21])]
    assert [e.prompt for e in mismatched(data)] == [[1], [2], [3], [1]]
    # where no other prompt has that side, the other side's
    assert [e.answers for e in mismatched(data[:2])] == [([21], []), ([], [10])]
    with pytest.raises(PlumblineError, match="two different prompts"):
        mismatched([data[0], data[3]])


@pytest.mark.parametrize("name", REGISTRY)
def test_what_trains_on_single_answers_is_what_labels_them_and_compares_nothing(name):
    needs = REGISTRY[name].needs
    sides = alone(align(name))
    if needs & (Need.PAIR | Need.LIST | Need.OLD_TOKENS):
        assert sides == ()
    else:
        assert sides == (("chosen", "rejected") if Need.LABELS in needs else ("chosen",))
    assert alone(align("kto")) == ("chosen", "rejected") and alone(align("sft")) == ("chosen",) and alone(align("dpo")) == ()


@pytest.mark.parametrize(
    "settings,kept,words",
    [
        (
            {"name": "dpo"},
            "both",
            r"2 of 4 rows in .* are one-sided .* objective dpo compares both sides: leave such rows out, or",
        ),
        ({"name": "grpo"}, "both", "objective grpo compares both sides"),
        ({"wrappers": {"mix": [{"objective": {"name": "dpo"}, "weight": 0.5}]}}, "both", "objective dpo compares"),
        ({"wrappers": {"trim": True}, "name": "bco"}, "both", "align.wrappers.trim compares"),
        ({"wrappers": {"weight_by": "judge_margin"}}, "both", "align.wrappers.weight_by judge_margin compares"),
        ({"curriculum": {"stages": 2}}, "both", "align.curriculum compares"),
        ({"name": "sft"}, "both", r"1 of 4 rows in .* hold a rejected answer alone, and objective sft takes the chosen one"),
        ({"wrappers": {"nll_anchor": 0.1}}, "both", "hold a rejected answer alone, and align.wrappers.nll_anchor takes"),
        ({"early_stop": {}}, "none", "align.early_stop ranks held-out pairs, and all 4 rows"),
        ({}, "both", None),
        ({"early_stop": {}}, "both", None),
        ({"wrappers": {"weight_by": "given"}}, "both", None),
        ({"name": "sft"}, "chosen", None),
    ],
)
def test_a_one_sided_row_that_cannot_be_trained_on_is_refused_with_their_number(settings, kept, words, tiny, tmp_path):
    rows = pair_rows(tiny, 4)
    rows[1:3] = [half(rows[1], "chosen"), half(rows[2], "rejected")]
    if kept == "none":
        rows = [half(row, "chosen") for row in pair_rows(tiny, 4)]
    elif kept == "chosen":
        rows = [rows[0], rows[1]]
    folder = pairs_dataset(tmp_path / "pairs", tiny, 4, rows=rows).folder
    if words is None:
        refuse_one_sided(folder, align(**settings))
        return
    with pytest.raises(PlumblineError, match=words):
        refuse_one_sided(folder, align(**settings))


def test_pairs_that_are_ranked_are_whole_and_a_row_without_answers_is_refused(tiny, tmp_path):
    rows = split(pair_rows(tiny, 3), [1])
    assert [e.id for e in read_pairs(pairs_dataset(tmp_path / "some", tiny, 3, rows=rows).folder)] == ["p0", "p2"]
    with pytest.raises(PlumblineError, match="holds no pairs but 2 one-sided rows"):
        read_pairs(pairs_dataset(tmp_path / "none", tiny, 3, rows=rows[1:3]).folder)
    nothing = pairs_dataset(tmp_path / "nothing", tiny, 1, rows=[rows[0] | ABSENT])
    with pytest.raises(PlumblineError, match=r"'p0' .* no chosen tokens"):
        read_inputs(nothing.folder, Need.LABELS)


def test_held_out_are_whole_pairs_and_their_prompts_halves_are_not_trained_on():
    data = [Example(str(i), [i // 2], ([5], [6]) if i % 2 else ([5], [])) for i in range(20)]
    kept, away = hold_out(data, 0.3, 0)
    assert len(away) == 3 and all(data[i].compares for i in away)
    assert not {data[i].prompt[0] for i in kept} & {data[i].prompt[0] for i in away} and len(kept) == 14
    with pytest.raises(PlumblineError, match="of 0 prompts with two answers"):
        hold_out(data[::2], 0.3, 0)


@pytest.mark.parametrize("sides", ["mixed", "apart", "bad"])
def test_training_on_single_answers_moves_them_and_its_figures_are_of_what_is_there(sides, tiny, tmp_path):
    rows = pair_rows(tiny, 12)
    rows = {
        "mixed": split(rows[:4], []) + split(rows[4:], range(8)),
        "apart": [half(row, "chosen") for row in rows[:6]] + [half(row, "rejected") for row in rows[6:]],
        "bad": [half(row, "rejected") for row in rows],
    }[sides]
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 12, rows=rows)
    steps = run(pairs, tmp_path / "out", tiny, name="kto", epochs=6, learning_rate=2e-3, batch_size=4)["steps"]
    first, last = steps[0], steps[-1]
    assert last["loss"] < first["loss"]
    assert last["rejected_logratio"] is None or last["rejected_logratio"] < -0.1
    assert (last["chosen_logratio"] is None) == (sides == "bad") or sides == "apart"
    assert all(step["accuracy"] is None and step["margin"] is None for step in steps) == (sides != "mixed")
    assert all(step["loss"] is not None and step["gradient_norm"] > 0 for step in steps)

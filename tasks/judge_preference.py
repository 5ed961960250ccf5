"""Judge by a trained preference model: no question, no order, a probability for every pair."""

from collections.abc import Sequence
from pathlib import Path

from data_contracts.config_judge import JudgeConfig
from models.chat import encode_answer, encode_prompt
from models.checkpoint import load_tokenizer
from models.engine import Progress
from models.preference.store import load, open_preference
from tasks.comparison import Comparison, Verdict, answer_id, said


def by_preference_model(comparisons: Sequence[Comparison], config: JudgeConfig, progress: Progress) -> list[Verdict]:
    """P(first beats second) of each comparison; a Bradley-Terry model's rewards are the scores, in nats.

    Answers that do not fit the model are "unparsed", hence a tie. Raises PlumblineError if `config.model` is no preference model.
    """
    import torch

    from models.preference.model import embed

    saved = open_preference(Path(config.model or ""))
    model, tokenizer = load(saved), load_tokenizer(saved.checkpoint.path)
    answers = {answer_id(c.prompt, text): (c.prompt, text) for c in comparisons for text in (c.first, c.second)}
    room = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    encoded = {key: encode_prompt(tokenizer, prompt) + encode_answer(tokenizer, text) for key, (prompt, text) in answers.items()}
    fits = [key for key, ids in encoded.items() if room is None or len(ids) <= room]
    rows = dict(zip(fits, embed(model, [encoded[key] for key in fits]), strict=True)) if fits else {}
    verdicts = []
    for done, c in enumerate(comparisons, 1):
        first, second = rows.get(answer_id(c.prompt, c.first)), rows.get(answer_id(c.prompt, c.second))
        if first is None or second is None:
            verdicts.append(Verdict("unparsed", "unparsed", "tie", side_by_side=False))
            continue
        with torch.inference_mode():
            chance = float(model.score(first[None].to(model.head.weight), second[None].to(model.head.weight)).sigmoid())
        verdict = said(chance)
        a, b = (float(first), float(second)) if saved.card["kind"] == "bt" else (None, None)
        verdicts.append(Verdict(verdict, verdict, verdict, a, b, chance, side_by_side=False))
        progress(done, len(comparisons))
    return verdicts

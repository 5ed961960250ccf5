"""The three trainings, then measuring and writing.

base ─┬─▶ teacher   the tasks themselves, and the correction of answers
      └─▶ student   a short time with answers that are wrong in habitual ways
"""

import copy
import hashlib
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from models.embedded import curriculum, measure
from models.embedded.card import write_card
from models.embedded.checkpoint import save
from models.embedded.datafiles import prompt_tasks, question_tasks, write_data
from models.embedded.llama import Llama, Shape
from models.embedded.tokenizer import build_tokenizer, encode_examples
from models.embedded.train import Encoded, Recipe, train

THREADS = 1  # two are hardly faster on an idle machine, and many times slower on a busy one
MEASURED = 800  # prompts on which the teacher's revisions and judgements are measured


@dataclass(frozen=True)
class Stage:
    recipe: Recipe
    example: Callable[[random.Random], curriculum.Example]
    copying: Callable[[float], float]  # share of copying practice after this share of the steps


STAGES = {
    "base": Stage(
        Recipe(steps=1830, tokens=2048, adamw=3e-3, muon=0.02, decay=0.0),
        curriculum.task_example,
        lambda done: 0.35 if done < 0.27 else 0.15 if done < 0.67 else 0.1,
    ),
    "student": Stage(
        Recipe(steps=178, tokens=2048, adamw=1.5e-3, muon=0.008, decay=0.8),
        curriculum.student_example,
        lambda done: 0.0,
    ),
    "teacher": Stage(
        Recipe(steps=1300, tokens=2560, adamw=3e-3, muon=0.02, decay=0.55),
        curriculum.teacher_example,
        lambda done: 0.08 if done < 0.6 else 0.0,
    ),
}


def teach(name: str, model: Llama, tokenizer: PreTrainedTokenizerFast, scale: float, seed: int) -> tuple[Llama, dict[str, float]]:
    """A trained copy of `model` after the named stage, and the figures of its training."""
    stage, model = STAGES[name], copy.deepcopy(model)
    recipe = replace(stage.recipe, steps=max(2, round(stage.recipe.steps * scale)))

    def lessons(rng: random.Random, n: int, done: float) -> list[Encoded]:
        share = stage.copying(done)
        pairs = [curriculum.copy_example(rng) if rng.random() < share else stage.example(rng) for _ in range(n)]
        return encode_examples(tokenizer, pairs)

    def report(line: str) -> None:
        print(f"[{name}] {line}", flush=True)

    figures = train(model, lessons, recipe, seed * 10 + list(STAGES).index(name), report)
    return model, asdict(recipe) | figures


def measured(models: dict[str, Llama], tokenizer: PreTrainedTokenizerFast, scale: float) -> dict:
    """What the card says: accuracies on held-out questions, the teacher's work on the prompts of the demo."""
    prompts, questions = prompt_tasks()[:MEASURED], question_tasks()
    if scale < 1:
        prompts, questions = (t[: max(8, round(len(t) * scale))] for t in (prompts, questions))
    base, student, teacher = (models[name] for name in ("base", "student", "teacher"))
    return {
        "base": measure.answered(base, tokenizer, questions),
        "student": {
            "greedy": measure.answered(student, tokenizer, questions),
            "sampled": measure.answered(student, tokenizer, questions, temperature=1.0),
        },
        "teacher": {
            "tasks": measure.answered(teacher, tokenizer, questions),
            "revision": measure.revised(teacher, student, tokenizer, prompts),
            "judge": measure.judged(teacher, student, tokenizer, prompts),
        },
    }


def run(out: Path, scale: float, seed: int) -> None:
    """All of it, in this process. Files are written at the end: an interrupted build leaves the old ones alone."""
    started = time.monotonic()
    torch.set_num_threads(THREADS)
    torch.set_flush_denormal(True)  # the gradients of a confident softmax are denormal, and slow
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    models, training = {"base": Llama(Shape(len(tokenizer)))}, {}
    for name in STAGES:
        models[name], training[name] = teach(name, models["base"], tokenizer, scale, seed)
    print("[measure] by the exact checker", flush=True)
    card = {
        "seed": seed,
        "scale": scale,
        "parameters": sum(p.numel() for p in models["base"].parameters()),
        "vocabulary": len(tokenizer),
        "threads": THREADS,
        "torch": torch.__version__,
        "training": training,
        **measured(models, tokenizer, scale),
        "sha256": {},
    }
    for name in ("student", "teacher"):
        save(models[name], tokenizer, out / name)
        card["sha256"][name] = hashlib.sha256((out / name / "model.safetensors").read_bytes()).hexdigest()
    write_data(out / "data")
    write_card(out, card | {"seconds": round(time.monotonic() - started)})
    print(f"[done] {out}, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))

"""The only door to lm-evaluation-harness: its tasks, answered by the run's own engine. An optional extra."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_evaluate import HarnessConfig
from data_contracts.errors import PlumblineError, in_short
from data_contracts.json_text import is_number
from data_contracts.store import digest
from models.chat import TODAY
from models.engine import Progress, Sampling, quiet

if TYPE_CHECKING:
    from models.engine import Engine

_LONGEST = 256  # tokens of an answer where a task does not say


def check_harness(config: HarnessConfig) -> None:
    """Raises PlumblineError if the harness is not installed, or knows no such task."""
    if find_spec("lm_eval") is None:
        raise PlumblineError("evaluate.harness needs lm-evaluation-harness, which is not installed: pip install lm-eval")
    if config.folder and not Path(config.folder).is_dir():
        raise PlumblineError(f"evaluate.harness.folder is {config.folder}, which is no folder: name one with tasks in YAML")
    known = set(_manager(config).all_tasks)
    unknown = [task for task in config.tasks if task not in known]
    if unknown:
        where = f" or in {config.folder}" if config.folder else ""
        raise PlumblineError(f"evaluate.harness.tasks names {unknown[0]}, which lm-evaluation-harness does not know{where}")


def fetch_harness(config: HarnessConfig) -> None:
    """Have the tasks' data on this machine. Raises PlumblineError as `run_harness` does."""
    with _told("prepare", config):
        _manager(config).load(list(config.tasks))


@contextmanager
def _told(what: str, config: HarnessConfig) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError) as error:  # what tasks and the data sets' library raise
        raise PlumblineError(
            f"lm-evaluation-harness could not {what} {', '.join(config.tasks)}: {in_short(error, 300)}"
        ) from error


def run_harness(
    config: HarnessConfig, engine: "Engine", progress: Progress = quiet
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows of records.HARNESS, {task: {metric: value, "version": …}}) of the weights that `engine` uses.

    The values are the harness's own aggregates; rows hold every metric that is one number a question.

    Raises PlumblineError if a task's data cannot be fetched, or it needs what is not allowed (running code, a gated data set).
    """
    from lm_eval import simple_evaluate

    with _told("run", config):
        found = simple_evaluate(
            model=_model(engine, config.chat, progress),
            tasks=list(config.tasks),
            num_fewshot=config.shots,
            limit=config.limit,
            bootstrap_iters=0,
            apply_chat_template=config.chat,
            task_manager=_manager(config),
        )
    assert found is not None
    values = {
        task: {_name(*name.split(",")): float(v) for name, v in metrics.items() if _is_value(name, v)}
        for task, metrics in found["results"].items()
    }
    return [row for task, samples in found["samples"].items() for row in _rows(task, samples)], values


def _manager(config: HarnessConfig) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(Path(config.folder)) if config.folder else None)


def _is_value(name: str, value: Any) -> bool:
    return is_number(value) and "stderr" not in name and name != "sample_len"


def _name(metric: str, filter_: str = "none") -> str:
    """The harness writes "acc,none" and "exact_match,strict-match"; MLflow takes no comma."""
    return metric if filter_ == "none" else f"{metric}.{filter_}"


def _rows(task: str, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for sample in samples:
        question = {"task": task, "question_id": f"{task}/{sample['doc_id']}", "question": digest(sample["doc"])}
        for metric in sample["metrics"]:
            if isinstance(sample.get(metric), (int, float)):
                rows.append(question | {"metric": _name(metric, sample["filter"]), "score": float(sample[metric])})
    return rows


def _model(engine: "Engine", chat: bool, progress: Progress) -> Any:
    """The engine as the harness wants it: an instance of a class of its own, which is imported only when asked for.

    Plain prompts begin as the tokenizer begins every text, and spell no control token; with `chat` the template writes both.
    """
    from lm_eval.api.model import TemplateLM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    class Model(TemplateLM):  # type: ignore[misc]
        tokenizer = engine.tokenizer
        tokenizer_name = engine.current.hash

        @property
        def eot_token_id(self) -> int:
            return int(engine.tokenizer.eos_token_id)

        @property
        def prefix_token_id(self) -> int:
            start = engine.tokenizer.bos_token_id
            return self.eot_token_id if start is None else int(start)

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            special = not chat if add_special_tokens is None else add_special_tokens
            ids: list[int] = engine.tokenizer(string, add_special_tokens=special, split_special_tokens=not chat)["input_ids"]
            return ids

        def chat_template(self, chat_template: bool | str = False) -> str:
            return str(engine.tokenizer.chat_template or "")

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            how = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
            rendered = engine.tokenizer.apply_chat_template(chat_history, tokenize=False, strftime_now=TODAY.strftime, **how)
            return str(rendered)

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            room = engine.max_model_len - 1
            fitting = [(context[-max(1, room - len(ids)) :], ids[-(room - 1) :]) for _, context, ids in requests]
            return engine.score_greedy([context for context, _ in fitting], [ids for _, ids in fitting], progress)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            windows, owners = [], []
            for place, request in enumerate(requests):
                ids = self.tok_encode(request.args[0], add_special_tokens=False)
                for window in get_rolling_token_windows(ids, self.prefix_token_id, engine.max_model_len - 2, 1):
                    windows.append(("", *make_disjoint_window(window)))
                    owners.append(place)
            sums = [0.0] * len(requests)
            for place, (logp, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
                sums[place] += logp
            return sums

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            texts: dict[int, str] = {}
            wanted = [_sampling(request.args[1]) for request in requests]
            for sampling in dict.fromkeys(wanted):
                places = [i for i, found in enumerate(wanted) if found == sampling]
                room = engine.max_model_len - sampling.max_tokens - 1
                if room < 1:
                    raise PlumblineError(f"a task asks for {sampling.max_tokens} tokens: raise engine.max_model_len")
                prompts = [self.tok_encode(requests[i].args[0])[-room:] for i in places]
                made = engine.generate(prompts, sampling, places, progress)
                texts |= {i: _until(done.text, requests[i].args[1]) for i, done in zip(places, made, strict=True)}
            return [texts[i] for i in range(len(requests))]

    return Model()


def _sampling(asked: Mapping[str, Any]) -> Sampling:
    temperature = float(asked.get("temperature", 0.0)) if asked.get("do_sample", True) else 0.0
    return Sampling(temperature, float(asked.get("top_p", 1.0)), int(asked.get("max_gen_toks", _LONGEST)))


def _until(text: str, asked: Mapping[str, Any]) -> str:
    """What stands before the first stop text: the engine stops at the end token only."""
    stops = asked.get("until") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop)[0] if stop else text
    return text

"""The only door to vLLM: generate, score, and swap weights in one engine that lives as long as the run.

Importing and starting vLLM costs 20-60 s on two cores, swapping weights a fraction of a second. A swap can go wrong in silence
(tied embeddings keep the old output matrix on CPUs, the prefix cache keeps the old keys), so each one is proven: the
log-probabilities of a probe longer than one cache block must equal those of a plain transformers forward (design, decision 1).
In bfloat16 they equal them but for noise, in which a checkpoint and its next one may not differ; so a swap must also have changed
them, and the cache must not know the probe.
"""

import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data_contracts.config import EngineConfig
from data_contracts.errors import PlumblineError, in_short
from models.chat import decode_answer
from models.checkpoint import Checkpoint, end_tokens, load_model, load_tokenizer, read_config, weight_count
from models.engine_swap import forget_experts, meeting, retie
from models.gpus import shards, visible
from models.prerequisites import check_machine

log = logging.getLogger(__name__)
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process: weights can be swapped and the model reached
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # where the model takes several GPUs; this process has threads that survive no fork
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_PROBE_TOKENS = 200  # longer than one cache block (128 tokens on CPUs), so that a stale prefix cache shows
# nats that the probe may differ on average, and a single token; or so many times the checkpoint's own noise in bfloat16
TOLERANCE = {"float32": (1e-3, 1e-3), "bfloat16": (0.1, 0.5)}
NOISE = (3, 10)
CHANGED = 1e-3  # nats: what a probe's log-probabilities must move on average for the engine's to have to move, too
# what of a configuration an engine that is set up for it does not go by; a window, say, which no probe outgrows, would go unseen
_INDIFFERENT = {
    *("dtype", "torch_dtype", "transformers_version", "_name_or_path", "use_cache", "text_config", "vision_config"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
}

Progress = Callable[[int, int], None]


def quiet(_done: int, _total: int) -> None:
    """The progress of work that nobody watches."""


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 is greedy; `max_tokens` counts the end-of-sequence token."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Completion:
    """`token_ids` are the sampler's own and end with one of the model's end tokens exactly if `finish_reason` is "stop"."""

    text: str
    token_ids: list[int]
    finish_reason: str

    @property
    def stopped(self) -> bool:
        return self.finish_reason == "stop"


@dataclass(frozen=True)
class Probe:
    """What transformers gives the probe under a checkpoint: log p of each of its tokens given those before it (0 for the first)
    and of every token that may follow, and by how much the engine's precision moves the former on average. All in nats."""

    logprobs: list[float]
    following: list[float]
    noise: float


def preload() -> None:
    """Import vLLM, which takes 15-40 s, while something else starts up. Raises PlumblineError as check_machine does."""
    check_machine("cuda" if visible() else "cpu")
    os.environ.update({k: os.environ.get(k, v) for k, v in _ENVIRONMENT.items()})
    import vllm  # noqa: F401


class Engine:
    """A running vLLM engine, starting on `checkpoint`. Token ids in, token ids out; `use` swaps the weights.

    A model that one GPU does not hold is split over as many of the first `gpus` as it takes. What a probe should give is computed
    for each checkpoint, unless it is among the `known`, by hash.

    Raises PlumblineError where vLLM and transformers disagree about the weights in use.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: EngineConfig, gpus: int = 1, known: Mapping[str, Probe] = MappingProxyType({})
    ) -> None:
        preload()
        import torch
        import vllm

        self.version: str = vllm.__version__
        self.on_gpu = torch.cuda.is_available()
        self.dtype = config.dtype if config.dtype != "auto" else ("bfloat16" if self.on_gpu else "float32")
        self._config, self._gpus = config, gpus
        self.max_model_len = config.max_model_len
        self.probes = dict(known)
        self._proven, self._seen = "", list[float]()  # the weights proven last, and the probe's log-probabilities under them
        self._asleep = False
        self.met: Path | None = None  # the file that vLLM leaves among the temporary ones
        self.current: Checkpoint
        self._llm: Any = None
        self._start(checkpoint)

    def use(self, checkpoint: Checkpoint) -> None:
        """Make `checkpoint` the weights in use and prove it. Another architecture restarts the engine."""
        self._wake()
        if checkpoint.hash == self.current.hash:
            return
        if not self._swaps(checkpoint):
            self.close()
            self._start(checkpoint)
            return
        self.current = Checkpoint(checkpoint.path, "unproven")  # whatever fails from here on, nobody may rely on these weights
        if not self.on_gpu:
            self._llm.apply_model(forget_experts)
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(checkpoint.path)})
        if self._tied and not self.on_gpu:
            self._llm.apply_model(retie)
        self._llm.reset_prefix_cache()
        self._prove(checkpoint)

    def _swaps(self, checkpoint: Checkpoint) -> bool:
        return self._llm is not None and _shape(checkpoint.path) == _shape(self.current.path)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        progress: Progress = quiet,
        choices: Sequence[str] = (),
    ) -> list[Completion]:
        """One completion a prompt, in order; equal prompts, sampling and seeds give equal completions on equal hardware.

        With `choices`, every completion is one of them.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        self._wake()
        only = StructuredOutputsParams(choice=list(choices)) if choices else None
        ends = end_tokens(self.tokenizer)  # vLLM goes by the settings of the checkpoint that it started on
        parameters = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=seed if sampling.temperature > 0 else None,
                stop_token_ids=list(ends),
                detokenize=False,
                structured_outputs=only,
            )
            for seed in seeds
        ]
        outputs = self._run(prompts, parameters, progress)
        completions = []
        for output in outputs:
            ids = list(output.outputs[0].token_ids)
            stopped = output.outputs[0].finish_reason == "stop" and ids[-1] in ends
            completions.append(Completion(decode_answer(self.tokenizer, ids), ids, "stop" if stopped else "length"))
        return completions

    def score(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], progress: Progress = quiet
    ) -> list[float]:
        """Summed log-probability (nats) of each answer after its prompt, under the weights in use."""
        return [logp for logp, _ in self.score_greedy(prompts, answers, progress)]

    def score_greedy(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], progress: Progress = quiet
    ) -> list[tuple[float, bool]]:
        """`score` of each answer, and whether greedy decoding would have written it."""
        rows = self._token_logprobs([[*p, *a] for p, a in zip(prompts, answers, strict=True)], progress)
        ends = [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]
        return [(sum(logp for logp, _ in end), all(rank == 1 for _, rank in end)) for end in ends]

    def rest(self) -> None:
        """Give the GPU's memory to the trainer until the next call. CPUs have nothing to give."""
        if self.on_gpu:
            import torch

            if not self._asleep and self._llm is not None:
                self._llm.sleep(level=1)
                self._asleep = True
            torch.cuda.empty_cache()  # what a preference model has left in this process

    def close(self) -> None:
        if self._llm is None:  # closed already, or not started again
            return
        self._wake()  # asleep, vLLM's allocator would release its memory a second time, and no engine could start here again
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        cleanup_dist_env_and_memory()
        if self.met is not None:
            self.met.unlink(missing_ok=True)

    def _start(self, checkpoint: Checkpoint) -> None:
        from vllm import LLM

        self.current = Checkpoint(checkpoint.path, "unproven")
        try:
            self._llm = LLM(
                str(checkpoint.path),
                dtype=self.dtype,
                tensor_parallel_size=self._shards(checkpoint),
                max_model_len=self._config.max_model_len,
                enforce_eager=not self.on_gpu,
                gpu_memory_utilization=self._config.gpu_memory,
                enable_sleep_mode=self.on_gpu,
                # On a CPU a prompt cut in two by chunked prefill crashes a seeded request: vLLM rewinds its generator by a CUDA
                # call.
                enable_chunked_prefill=self.on_gpu,
                max_num_batched_tokens=max(4096, self._config.max_model_len),
                seed=0,
                disable_log_stats=True,
                trust_remote_code=False,
                language_model_only=True,  # of a model that sees pictures, too: nobody here shows it any
                use_tqdm_on_load=False,
            )
            self._proven = ""
            self.met = self._llm.collective_rpc(meeting)[0] if self._shards(checkpoint) == 1 else None
            self._prove(checkpoint)  # its first forward, too, may find a shape that it has no kernel for
        except PlumblineError:
            raise
        except Exception as error:  # an architecture it does not know, too little memory, …: whatever vLLM can say
            log.exception("vLLM did not start")
            said = in_short(str(error) or type(error).__name__, 300)
            raise PlumblineError(f"vLLM does not start on {checkpoint.path}: {said}; change engine, or the model") from None

    @property
    def _tied(self) -> bool:
        """As vLLM reads it: a configuration may leave out what is its family's habit."""
        config = self._llm.llm_engine.model_config.hf_config
        return any(getattr(part, "tie_word_embeddings", False) for part in (config, config.get_text_config()))

    def _shards(self, checkpoint: Checkpoint) -> int:
        if not self.on_gpu:
            return 1
        import torch

        size = weight_count(checkpoint.path) * (2 if self.dtype == "bfloat16" else 4)
        memory = torch.cuda.get_device_properties(0).total_memory * self._config.gpu_memory
        return shards(size, memory, read_config(checkpoint.path).get("num_attention_heads", 1), self._gpus)

    def _wake(self) -> None:
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False

    def _run(self, prompts: Sequence[Sequence[int]], parameters: Any, progress: Progress) -> list[Any]:
        self._check_room(prompts)
        inputs = [{"prompt_token_ids": list(p)} for p in prompts]
        return self._llm.generate(inputs, parameters, use_tqdm=partial(_bar, progress, len(inputs)))

    def _check_room(self, prompts: Sequence[Sequence[int]]) -> None:
        longest = max((len(p) for p in prompts), default=0)
        if longest >= self._config.max_model_len:
            raise PlumblineError(
                f"a prompt of {longest} tokens leaves no room in engine.max_model_len {self._config.max_model_len}: "
                "raise it or drop long prompts"
            )

    def _next_token(self, prompt: list[int]) -> tuple[int, float, int]:
        """The likeliest token, its log-probability, and how many of the prompt's tokens the cache knew."""
        from vllm import SamplingParams

        output = self._run([prompt], SamplingParams(temperature=0, max_tokens=1, logprobs=0, detokenize=False), quiet)[0]
        token = output.outputs[0].token_ids[0]
        return token, output.outputs[0].logprobs[0][token].logprob, output.num_cached_tokens or 0

    def _token_logprobs(self, sequences: list[list[int]], progress: Progress = quiet) -> list[list[tuple[float, int]]]:
        """(log-probability, its rank among all tokens) of each token of each sequence given those before it."""
        from vllm import SamplingParams

        self._wake()
        outputs = self._run(sequences, SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False), progress)
        rows = []
        for ids, output in zip(sequences, outputs, strict=True):
            said = [entry[token] for token, entry in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]
            rows.append([(0.0, 1), *((found.logprob, found.rank) for found in said)])
        return rows

    def _probe(self, vocabulary: int) -> list[int]:
        return [(7 * i * i + 3 * i) % vocabulary for i in range(min(_PROBE_TOKENS, self._config.max_model_len - 2))]

    def _known(self, checkpoint: Checkpoint) -> Probe:
        """What transformers gives the probe."""
        if checkpoint.hash not in self.probes:
            import torch
            from vllm.utils.torch_utils import set_default_torch_num_threads

            # for a GPU vLLM has left this process one thread, by which a real model would take minutes
            threads = len(os.sched_getaffinity(0)) if self.on_gpu else torch.get_num_threads()
            with set_default_torch_num_threads(threads):
                probe = self._probe(len(load_tokenizer(checkpoint.path, chat=False)))
                self.probes[checkpoint.hash] = _reference(checkpoint.path, probe, self.dtype)
        return self.probes[checkpoint.hash]

    def _prove(self, checkpoint: Checkpoint) -> None:
        """Compare the probe with transformers, and only then call `checkpoint` the weights in use.

        Log-probabilities of a prompt are always computed afresh, so they show wrong weights but not a stale prefix cache; the
        token after the prompt is generated with the cache in use and shows that too.
        """
        self.tokenizer = load_tokenizer(checkpoint.path, chat=False)
        before, known, probe = self.probes.get(self._proven), self._known(checkpoint), self._probe(len(self.tokenizer))
        token, logprob, cached = self._next_token(probe)
        seen = [found for found, _ in self._token_logprobs([probe])[0]]
        mean, last = (max(least, times * known.noise) for least, times in zip(TOLERANCE[self.dtype], NOISE, strict=True))
        difference, next_difference = _mean_difference(seen, known.logprobs), abs(logprob - known.following[token])
        if not (difference <= mean and next_difference <= last):  # also catches NaN
            fault = (
                f"a probe's log-probabilities differ from transformers' by {difference:.3g} nats on average (allowed {mean:.3g}) "
                f"and that of the next token by {next_difference:.3g} (allowed {last:.3g})"
            )
        elif cached:
            fault = "its cache still holds what other weights have computed"
        elif before is not None and seen == self._seen and _mean_difference(known.logprobs, before.logprobs) > CHANGED:
            fault = "a probe's log-probabilities are exactly those of the weights before"
        else:
            self.current, self._proven, self._seen = checkpoint, checkpoint.hash, seen
            return
        said = f"vLLM does not hold the weights of {checkpoint.path}: {fault}"
        raise PlumblineError(f"{said}; resume the run to start a fresh engine")


def _shape(path: Path) -> dict[str, Any]:
    return {name: value for name, value in read_config(path).items() if name not in _INDIFFERENT}


def _mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _reference(path: Path, ids: list[int], dtype: str) -> Probe:
    """In float32, of the weights as `dtype` holds them."""
    import torch

    def logprobs(model: Any) -> Any:
        return model(torch.tensor([ids])).logits[0].float().log_softmax(-1)

    def of_ids(logprobs: Any) -> list[float]:
        return [0.0, *logprobs[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()]

    with torch.inference_mode():
        model = load_model(path, getattr(torch, dtype)).eval()
        lowered = logprobs(model)
        exact = lowered if dtype == "float32" else logprobs(model.float())
    return Probe(of_ids(exact), exact[-1].tolist(), _mean_difference(of_ids(exact), of_ids(lowered)))


def _bar(progress: Progress, expected: int, *args: Any, **options: Any) -> Any:
    """vLLM reports progress through a tqdm bar; this one prints nothing and tells `progress` instead."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            progress(int(self.n), expected)
            return shown

    return Bar(*args, **{**options, "file": io.StringIO(), "disable": False})

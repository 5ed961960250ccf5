"""Several engines that look like one: every GPU that is not the teacher's answers, and not the first one alone.

Each further engine is an `Engine` in a process of its own, `python -m models.engine_replicas PARENT_PID CORE,CORE,…`: it reads
one JSON request a line from stdin and answers on stdout with lines of JSON, {"progress": number done}, then {"done": result} or
{"error": sentence}. It never outlives its parent.

vLLM's own data parallelism (0.32) does not serve here: its `LLM` refuses more than one replica in a process, its example for
offline use is a process for each with a fixed share of the prompts, as here, and its server's client passes on what the first
replica says to a collective call, while each has to prove its weights.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from data_contracts.config import EngineConfig
from data_contracts.config_teacher import TeacherConfig
from data_contracts.errors import PlumblineError
from models.checkpoint import Checkpoint
from models.engine import Completion, Engine, Probe, Progress, Sampling, preload, quiet
from models.gpus import before_the_teachers, trainers, visible
from models.parent import answering, leave_with
from models.training.process import LAUNCHER, cores, how

Ids = Sequence[int]
_BLOCK = 16  # tokens of which vLLM's cache makes a block on GPUs: what fewer have in common saves nothing
_GROUPS = 8  # groups a replica, at least: so many can be dealt out evenly
_EVERY = 0.2  # seconds between two looks at the others when one's own share is done


def open_engine(checkpoint: Checkpoint, config: EngineConfig, log: Path, teacher: TeacherConfig | None = None) -> Engine:
    """One engine where there is no GPU or one, else one for each that is not `teacher`'s; the others' messages go to `log`."""
    gpus, first = trainers(visible(), teacher), before_the_teachers(visible(), teacher)
    return Engines(checkpoint, config, gpus, first, log) if len(gpus) > 1 else Engine(checkpoint, config, first)


class Engines(Engine):
    """An engine in this process and as many more as `gpus` hold; the first of them, at most `first`, are this process's own.

    Answers come in the order of the requests. They depend on a request's own seed and on nobody it shares an engine with, but for
    rounding in batches of other sizes. Where one engine fails all are ended, and started anew when next used.

    Raises PlumblineError as Engine does, and for an engine whose process has died.
    """

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig, gpus: Sequence[str], first: int, log: Path) -> None:
        self._named, self._log, self._replicas = gpus, log, list[Replica]()
        super().__init__(checkpoint, config, first)

    def use(self, checkpoint: Checkpoint) -> None:
        if checkpoint.hash != self.current.hash and self._swaps(checkpoint):
            self._all(_named(checkpoint) | {"do": "use", "probe": asdict(self._known(checkpoint))})
        else:
            super().use(checkpoint)

    def generate(
        self,
        prompts: Sequence[Ids],
        sampling: Sampling,
        seeds: Sequence[int],
        progress: Progress = quiet,
        choices: Sequence[str] = (),
    ) -> list[Completion]:
        work = [len(p) + sampling.max_tokens for p in prompts]
        asked = {"do": "generate", "sampling": asdict(sampling), "choices": list(choices)}
        return [Completion(**made) for made in self._dealt(asked, {"prompts": prompts, "seeds": seeds}, prompts, work, progress)]

    def score_greedy(
        self, prompts: Sequence[Ids], answers: Sequence[Ids], progress: Progress = quiet
    ) -> list[tuple[float, bool]]:
        whole = [[*p, *a] for p, a in zip(prompts, answers, strict=True)]
        of_each = {"prompts": prompts, "answers": answers}
        return [(logp, greedy) for logp, greedy in self._dealt({"do": "score"}, of_each, whole, list(map(len, whole)), progress)]

    def rest(self) -> None:
        self._all({"do": "rest"})

    def close(self) -> None:
        self._end()
        super().close()

    def _start(self, checkpoint: Checkpoint) -> None:
        size = self._shards(checkpoint)
        rest = self._named[size:]
        self._spread([rest[i : i + size] for i in range(0, len(rest) - size + 1, size)], checkpoint, super()._start)

    def _spread(self, groups: Sequence[Sequence[str]], checkpoint: Checkpoint, own: Callable[[Checkpoint], None]) -> None:
        """Start an engine on each group of GPUs, and `own` in the meantime."""
        self.current = Checkpoint(checkpoint.path, "unproven")
        with self._whole():
            for group in groups:
                self._replicas.append(Replica(group, self._log))  # imports vLLM while the probe is computed here
            told = {"config": self._config.model_dump(mode="json"), "probe": asdict(self._known(checkpoint))}
            requests = [_named(checkpoint) | told | {"gpus": len(group)} for group in groups]
            _, *met = self._together(lambda _: own(checkpoint), requests, quiet, 0)
            for replica, file in zip(self._replicas, met, strict=True):
                replica.met = file and Path(file)

    def _all(self, request: dict[str, Any]) -> None:
        self._together(partial(_answer, self, request), [request] * len(self._replicas), quiet, 0)

    def _dealt(
        self,
        asked: dict[str, Any],
        of_each: Mapping[str, Sequence[Any]],
        whole: Sequence[Ids],
        work: Sequence[int],
        progress: Progress,
    ) -> list[Any]:
        """Answers in order to a request `of_each`, whose tokens are `whole`, with what is `asked` of all."""
        self._check_room(whole)
        shares = deal(whole, work, 1 + len(self._replicas))
        own, *others = [asked | {name: [rows[i] for i in share] for name, rows in of_each.items()} for share in shares]
        made = self._together(partial(_answer, self, own), others, progress, len(work))
        answers = {i: one for share, part in zip(shares, made, strict=True) for i, one in zip(share, part, strict=True)}
        return [answers[i] for i in range(len(work))]

    def _together(
        self, own: Callable[[Progress], Any], requests: Sequence[dict[str, Any]], progress: Progress, total: int
    ) -> list[Any]:
        """What `own` gives in this thread, and what each replica answers to its request meanwhile."""
        done = [0] * (1 + len(requests))

        def note(place: int, count: int) -> None:
            done[place] = count

        with ThreadPoolExecutor(len(done)) as pool, self._whole():
            asked = zip(self._replicas, requests, strict=True)
            futures = [pool.submit(replica.ask, request, partial(note, i)) for i, (replica, request) in enumerate(asked, 1)]

            def told(count: int, _: int) -> None:
                for future in futures:
                    if future.done():
                        future.result()  # raises what went wrong there
                note(0, count)
                progress(sum(done), total)

            mine = own(told)
            while wait(futures, _EVERY, FIRST_EXCEPTION).not_done:
                told(done[0], total)
            told(done[0], total)
            return [mine, *(future.result() for future in futures)]

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """After a failure, Ctrl-C too, an engine in the middle of something must not answer what is asked next."""
        try:
            yield
        except BaseException:
            self.close()
            self.current = Checkpoint(self.current.path, "unproven")  # so that whoever uses it next starts it
            raise

    def _end(self) -> None:
        for replica in self._replicas:
            replica.close()
        self._replicas = []


class Replica:
    """An engine in a process of its own on the GPUs named."""

    def __init__(self, gpus: Sequence[str], log: Path) -> None:
        self._name, self._log = f"the engine on GPU {', '.join(gpus)}", log
        self.met: Path | None = None  # its Engine's, which is killed without closing
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {k: v for k, v in os.environ.items() if k not in LAUNCHER}
        env |= {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "models.engine_replicas", str(os.getpid()), ",".join(map(str, sorted(cores())))]
        log.parent.mkdir(parents=True, exist_ok=True)
        pipe = subprocess.PIPE
        with log.open("a", encoding="utf-8") as file:
            # its own group: Ctrl-C is for the main process, and processes that a split model takes end with it
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=file, text=True, env=env, process_group=0)

    def ask(self, request: dict[str, Any], told: Callable[[int], None]) -> Any:
        """Its answer. Raises PlumblineError with its sentence, or with where to look if it died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died: told below, where its output ends
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            message = json.loads(line)
            if "error" in message:
                raise PlumblineError(message["error"])
            if "done" in message:
                return message["done"]
            told(message["progress"])
        end = how(self._process.wait())
        raise PlumblineError(f"{self._name} {end}: see {self._log}; resume the run to start it anew")

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self.met is not None:
            self.met.unlink(missing_ok=True)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it did not read any more
            self._process.stdin.close()


def deal(prompts: Sequence[Ids], work: Sequence[int], count: int) -> list[list[int]]:
    """Who gets which prompts, `count` lists of their indices: even shares of `work`, the largest group to who has least so far.

    Prompts that share more than all of them do stay in one group, whose beginning is then computed once, unless the group is
    larger than evenness allows.
    """
    order = sorted(range(len(prompts)), key=lambda i: list(prompts[i]))
    ever = _common(prompts[order[0]], prompts[order[-1]]) if order else 0
    most, groups = sum(work) / (_GROUPS * count), [order[:1]]
    load = sum(work[i] for i in order[:1])
    for before, i in pairwise(order):
        load += work[i]
        if load > most or _common(prompts[before], prompts[i]) < ever + _BLOCK:
            groups.append([])
            load = work[i]
        groups[-1].append(i)
    loads, shares = [0] * count, [list[int]() for _ in range(count)]
    for group in sorted(groups, key=lambda group: -sum(work[i] for i in group)):
        least = loads.index(min(loads))
        loads[least] += sum(work[i] for i in group)
        shares[least] += group
    return [sorted(share) for share in shares]


def _common(one: Ids, other: Ids) -> int:
    """How many tokens both begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _named(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"path": str(checkpoint.path), "hash": checkpoint.hash}


def _serve() -> None:
    say = answering()
    preload()
    engine: Engine | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if engine is None:
                checkpoint, known = Checkpoint(Path(asked["path"]), asked["hash"]), {asked["hash"]: Probe(**asked["probe"])}
                engine = Engine(checkpoint, EngineConfig.model_validate(asked["config"]), asked["gpus"], known)
                say(done=engine.met and str(engine.met))
            else:
                say(done=_answer(engine, asked, lambda done, _: say(progress=done)))
        except PlumblineError as error:
            say(error=str(error))


def _answer(engine: Engine, asked: dict[str, Any], progress: Progress) -> Any:
    """What this one engine gives, as JSON has it."""
    if asked["do"] == "generate":
        sampling = Sampling(**asked["sampling"])
        made = Engine.generate(engine, asked["prompts"], sampling, asked["seeds"], progress, asked["choices"])
        return [asdict(one) for one in made]
    if asked["do"] == "score":
        return Engine.score_greedy(engine, asked["prompts"], asked["answers"], progress)
    if asked["do"] == "rest":
        return Engine.rest(engine)
    engine.probes[asked["hash"]] = Probe(**asked["probe"])
    return Engine.use(engine, Checkpoint(Path(asked["path"]), asked["hash"]))


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(core) for core in sys.argv[2].split(",")})  # vLLM pins the thread that starts us to one core
    leave_with(int(sys.argv[1]))
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    _serve()

"""What the worker can be asked to do: each job loads its models, computes, and answers with plain numbers."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs, GradientAccumulationPlugin

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from models.check_model import check_trainable
from models.checkpoint import Checkpoint, empty_model, load_model, load_tokenizer, reach
from models.gpus import settled
from models.objectives.batch import Need
from models.objectives.wrappers import configured
from models.preference.train import train_preference
from models.training import team
from models.training.attention import install
from models.training.checkpoints import save_checkpoint
from models.training.data import Example, check_fit, hold_out, read_pairs
from models.training.inputs import read_inputs
from models.training.logps import all_logps, verify
from models.training.loop import TOLERANCE, train
from models.training.methods import merge, set_up, trainable
from models.training.moving import MovingReference
from models.training.prepare import prepare
from models.training.progress import Progress
from models.training.proof import prove
from models.training.reference import MICRO_BATCH
from models.training.schedule import schedule
from models.training.snapshots import Snapshots
from models.training.watch import HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def align(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train `policy` on the dataset in folder `pairs`; writes model/ into the folder `out`, and with config.checkpoints "epochs"
    the model after each earlier epoch, epochs/epoch-1/ and so on.

    The folder `resume` holds what a killed job leaves to its next attempt, and to no other job; who asks removes it in the end.
    The folder `cache` holds reference log-probabilities, for this job and any other. A team of processes does the job together if
    all are asked: each returns the same, and process 0 writes.

    Returns {"steps": rows of records.STEPS, "figures": what the objective measured last, "tokens": trained on in all, "seconds":
    spent on that}.
    Raises PlumblineError before the first step for data that the objective or the model cannot take.
    """
    config = settled(AlignConfig.model_validate(job["config"]))
    policy, reference = (_checkpoint(job[name]) for name in ("policy", "reference"))
    second = [_checkpoint(job["second_reference"])] if job.get("second_reference") else []
    out, kept, same = Path(job["out"]), Path(job["resume"]), policy == reference
    kept.mkdir(parents=True, exist_ok=True)
    sharded = team.size() > 1 and team.wants_shards(config.sharded)
    objective = configured(config.objective, config.wrappers)
    inputs = read_inputs(Path(job["pairs"]), objective.needs, load_tokenizer(policy.path))
    examples = inputs.examples
    torch.manual_seed(job["seed"])
    accelerator = fresh_accelerator(config.dtype)

    def load(checkpoint: Checkpoint, trained: bool = False) -> "PreTrainedModel":
        every = [*examples, *(e for rows in inputs.aux.values() for e in rows)]
        return _model(checkpoint, every, accelerator, config.dtype, sharded, config if trained else None)

    cache = Path(job["cache"])
    given, model = prepare(inputs, objective.needs, [reference, *second], policy, load, cache, config, accelerator)
    if sharded:
        del model  # split without a way to be trained
    by_reference = config.curriculum is not None and config.curriculum.by == "reference_gap"
    gaps = (given.ref[:, 0] - given.ref[:, 1]).tolist() if by_reference else inputs.gaps
    trained_on, held_out = list(range(len(examples))), None
    if config.early_stop is not None:
        trained_on, away = hold_out(examples, config.early_stop.held_out, job["seed"])
        held_out = HeldOut(given, away, config.early_stop, kept, accelerator)
    dealt, moves = schedule(len(trained_on), config, job["seed"], [gaps[i] for i in trained_on] if gaps else gaps)
    batches = [[trained_on[i] for i in batch] for batch in dealt]
    moving = None
    if moves and Need.REFERENCE in objective.needs:
        moving = MovingReference(load(reference), moves, config.micro_batch_tokens, accelerator)
    if sharded:
        model = load(policy, trained=True)
    else:
        set_up(model, config)
        if team.size() > 1:
            team.replicate(model)
    started = time.monotonic()
    snapshots = Snapshots(kept, moving)

    def write(whole: "PreTrainedModel | None", folder: Path) -> None:
        if team.rank() == 0 and whole is not None:
            merge(whole)
            shutil.rmtree(folder, ignore_errors=True)
            save_checkpoint(whole, policy.path, folder, getattr(torch, config.dtype))

    def keep(epoch: int) -> None:
        """A copy in main memory: merging and changing the precision would change what is trained on."""
        if config.checkpoints == "epochs":
            write(_gathered(model, policy, config), kept / "epochs" / f"epoch-{epoch}")

    rows, figures = train(
        model, given, objective, config, batches, accelerator, same, progress, snapshots, moving, keep, held_out
    )
    seconds = time.monotonic() - started
    if (kept / "epochs").exists() and team.rank() == 0:
        shutil.copytree(kept / "epochs", out / "epochs")
    write(_gathered(model, policy, config) if sharded else model, out / "model")
    tokens = sum(examples[i].tokens for batch in batches[: len(rows)] for i in batch)
    return {"steps": rows, "figures": figures, "tokens": tokens, "seconds": seconds}


def _gathered(model: "PreTrainedModel", policy: Checkpoint, config: AlignConfig) -> "PreTrainedModel | None":
    """A whole model with the trained weights of all processes in the main memory of process 0, None elsewhere."""
    complete = load_model(policy.path, torch.float32) if team.rank() == 0 else None
    if complete is not None:
        set_up(complete, config)
    into = {} if complete is None else trainable(complete)
    for name, values in trainable(model).items():  # one whole tensor at a time
        found = team.whole(values.detach())
        if complete is not None:
            into[name].data.copy_(found)
    return complete


def _checkpoint(named: dict[str, str]) -> Checkpoint:
    return Checkpoint(Path(named["path"]), named["hash"])


def rank(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Log-probabilities of the dataset in folder `pairs` under `policy`, in float32: {"rows": rows of records.RANKINGS}."""
    policy, examples = _checkpoint(job["policy"]), read_pairs(Path(job["pairs"]))
    accelerator = fresh_accelerator("float32")
    model = _model(policy, examples, accelerator, "float32")
    logps = all_logps(model, examples, MICRO_BATCH, progress).tolist()
    names = ("chosen_logp", "rejected_logp", "chosen_tokens", "rejected_tokens")
    rows = [
        {"pair_id": e.id} | dict(zip(names, [*logp, *(len(a) for a in e.answers)], strict=True))
        for e, logp in zip(examples, logps, strict=True)
    ]
    return {"rows": rows}


def fresh_accelerator(dtype: str) -> Accelerator:
    """accelerate fixes one precision for a whole process, and this process takes jobs of both.

    Autocast keeps no copies: each weight but the head is used once a pass, and all of them would take two more bytes a weight.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    lowered, copies = "bf16" if dtype == "bfloat16" else "no", AutocastKwargs(cache_enabled=False)
    # else it divides every gradient by what a launcher, or a shell's profile, has left in the environment
    whole = GradientAccumulationPlugin(num_steps=1)
    return Accelerator(mixed_precision=lowered, gradient_accumulation_plugin=whole, kwargs_handlers=[copies])


def _model(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    accelerator: Accelerator,
    dtype: str,
    sharded: bool = False,
    trained: AlignConfig | None = None,
) -> "PreTrainedModel":
    """A model for all of a team, which process 0 alone reads."""
    if team.size() > 1:
        return _shared(checkpoint, examples, accelerator, dtype, sharded, trained)
    return _load(checkpoint, examples, accelerator.device, accelerator, dtype)


def _load(
    checkpoint: Checkpoint, examples: Sequence[Example], device: torch.device, accelerator: Accelerator, dtype: str
) -> "PreTrainedModel":
    check_trainable(checkpoint.path)
    # dropout stays off, in training as in sampling: a policy must start out equal to its reference
    model = load_model(checkpoint.path, torch.float32).eval().to(device)
    config = model.config.get_text_config()
    check_fit(examples, config.vocab_size, reach(config.to_dict()))
    with accelerator.autocast():
        verify(model, sorted(examples, key=lambda e: e.longest)[:2], TOLERANCE[dtype])
    return model


def _shared(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    accelerator: Accelerator,
    dtype: str,
    sharded: bool,
    trained: AlignConfig | None,
) -> "PreTrainedModel":
    """`_model` of a team of several, of which each process holds a part if `sharded`, set up to be `trained` by then."""
    whole, fault = None, None
    if team.rank() == 0:
        try:
            whole = _load(checkpoint, examples, torch.device("cpu") if sharded else accelerator.device, accelerator, dtype)
        except PlumblineError as error:  # the others wait to hear of it
            fault = str(error)
    if fault := team.first(fault):
        raise PlumblineError(fault)
    model = empty_model(checkpoint.path, torch.float32).eval() if sharded or whole is None else whole
    for one in (whole, model):
        if one is not None:
            install(one)
            if sharded and trained is not None:
                set_up(one, trained)
    if sharded:
        team.shard(model, accelerator.device, dtype, reference=trained is None)
    team.fill(model, accelerator.device, whole)
    return model


def _prove(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Raises PlumblineError if models of the architecture in the folder `policy` cannot be trained."""
    prove(Path(job["policy"]))
    return {}


Job = Callable[[dict[str, Any], Progress], dict[str, Any]]
JOBS: dict[str, Job] = {"align": align, "rank": rank, "preference": train_preference, "prove": _prove}
TEAMWORK = {"align", "rank"}  # which all processes of a team do together; anything else is for the first

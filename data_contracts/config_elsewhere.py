"""What TRL, Online-RLHF, HALOs, OpenRLHF, LLaMA-Factory, Axolotl and vLLM call what a configuration has here under another name,
or does not have: for whoever brings their habits. docs/names.md shows the same."""

import difflib
from collections.abc import Iterable

# what is to be written or known here -> their names for it
_THERE: dict[str, tuple[str, ...]] = {
    "policy": ("model", "model_name", "model_name_or_path", "model_path", "base_model", "pretrain", "sft_model"),
    "prompts.file (pairs.file with flow human_pairs)": (
        *("dataset", "datasets", "dataset_name", "dataset_path", "dataset_dir", "train_dataset", "train_file", "prompt_data"),
    ),
    "prompts.per_round": ("max_samples", "num_prompts", "max_train_samples"),
    "rounds": ("num_iterations", "n_iterations", "iterations", "num_rounds", "num_iters"),
    "sample.n": ("num_generations", "n_samples", "num_samples", "num_return_sequences", "n_samples_per_prompt", "best_of"),
    "sample.max_tokens (revise.max_tokens for the teacher's)": (
        *("max_new_tokens", "max_completion_length", "generate_max_len", "response_length"),
    ),
    "validate.max_tokens, of prompt and answer together: longer rows are set aside, never cut": (
        *("max_length", "max_len", "max_seq_length", "max_seq_len", "sequence_len", "cutoff_len", "max_prompt_length"),
        *("max_prompt_len", "max_target_length", "truncation_mode", "model_max_length"),
    ),
    "judge": ("reward_model", "reward_model_path", "reward_name_or_path", "reward_funcs", "reward_pretrain", "annotator"),
    "engine.gpu_memory": ("gpu_memory_utilization", "vllm_gpu_memory_utilization"),
    "align.objective.name, one that `plumbline objectives` lists": ("loss_type", "loss", "loss_name", "pref_loss"),
    "align.objective: {name: fdpo}": ("f_divergence_type", "f_alpha_divergence_coef"),
    "align.objective: {name: wpo}": ("use_weighting",),
    "align.reference": (
        *("ref_model", "reference_model", "ref_model_name", "ref_model_name_or_path", "ref_pretrain", "reference_free"),
    ),
    "align.reference: ema, with align.ema": ("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"),
    "align.learning_rate": ("lr", "actor_learning_rate"),
    "align.schedule": ("lr_scheduler_type", "lr_scheduler", "scheduler", "scheduler_type"),
    "align.warmup, a share of all steps": ("warmup_ratio", "warmup_steps", "lr_warmup_steps", "lr_warmup_ratio"),
    "align.epochs": ("num_train_epochs", "num_epochs", "n_epochs", "max_epochs", "train_epochs", "max_steps"),
    "align.batch_size, of all processes together in one step (align.micro_batch_tokens bounds memory alone)": (
        *("gradient_accumulation_steps", "per_device_train_batch_size", "train_batch_size", "micro_train_batch_size"),
        *("micro_batch_size", "global_batch_size", "mini_batch_size"),
    ),
    "align.optimizer": ("optim", "optimizer_type"),
    "align.max_grad_norm": ("gradient_clipping", "grad_clip", "max_norm", "clip_grad"),
    "align.dtype": ("bf16", "fp16", "torch_dtype", "precision", "policy_dtype"),
    "align.lora, of rank and alpha": (
        *("use_peft", "use_lora", "peft", "peft_config", "adapter", "lora_r", "lora_rank", "lora_alpha", "lora_target_modules"),
    ),
    "align.sharded (FSDP2)": ("deepspeed", "fsdp", "fsdp_config", "zero_stage"),
    "align.wrappers.nll_anchor": ("rpo_alpha", "nll_loss_coef", "pref_ftx", "sft_weight"),
    "align.wrappers.length_desensitising": ("ld_alpha",),
    "align.wrappers.mix": ("loss_weights",),
    "align.early_stop": ("early_stopping", "early_stopping_patience"),
    "name": ("run_name", "exp_name", "experiment_name"),
    "--run-dir on the command line": ("output_dir", "save_path", "run_dir", "logging_dir", "cache_dir"),
    "nothing: every run is recorded in MLflow, whose server MLFLOW_TRACKING_URI names": (
        *("report_to", "use_wandb", "wandb", "wandb_project", "log_with", "tracking_uri", "mlflow", "use_mlflow"),
    ),
    "nothing: no run uploads, and what it trained is a folder like any checkpoint (docs/models.md: publish it)": (
        *("push_to_hub", "hub_model_id", "hub_token", "hub_strategy"),
    ),
    "nothing: models' own code is never run (docs/models.md: what can be trained)": ("trust_remote_code",),
    "nothing: GPUs are shared out by themselves (docs/gpus.md)": (
        *("tensor_parallel_size", "vllm_tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size", "use_vllm"),
    ),
    "nothing: training keeps snapshots by itself (align.checkpoints: epochs keeps and measures each epoch's model)": (
        *("save_steps", "save_strategy", "save_total_limit", "resume_from_checkpoint"),
    ),
    "nothing: every step is recorded, and every round's model measured": (
        *("logging_steps", "eval_steps", "eval_strategy", "evaluation_strategy"),
    ),
    "nothing: it is always so": ("precompute_ref_log_probs", "disable_dropout"),
    "nothing: a system message is the first of a prompt's messages": ("system_prompt", "system"),
    "nothing: it is the policy's own, in its folder": ("chat_template", "tokenizer", "tokenizer_name_or_path"),
}

ELSEWHERE = {name: here for here, names in _THERE.items() for name in names}

# other trainers' names for an objective -> ours
OBJECTIVES = {
    "sigmoid": "dpo",
    "sigmoid_norm": "dpo_norm",
    "ipo": "ipo_mean, on log-ratios a token as TRL's, or ipo_sum as in the paper",
    "kto_pair": "kto",
    "exo_pair": "exo",
    "nca_pair": "nca",
    "bco_pair": "bco",
    "sppo": "sppo_hard",
    "apo": "apo_zero, apo_down or apo_auto",
    "slic_hf": "slic",
    "rdpo": "r_dpo",
    "listwise": "plackett_luce",
}


def objectives_like(given: str, known: Iterable[str]) -> str:
    """The objectives that a name may have been meant as, in words; empty if none is like it."""
    alike = given.lower().replace("-", "_")
    return OBJECTIVES.get(alike) or " or ".join(difflib.get_close_matches(alike, list(known)))

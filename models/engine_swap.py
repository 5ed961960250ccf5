"""What vLLM leaves undone, or does to others, when weights are swapped beside it in one process."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def uncompiled() -> AbstractContextManager[None]:
    """For whoever makes a model of transformers' in a process where vLLM runs, or has run, models by transformers' own classes
    (OLMo 2, SmolLM 3, Phi-2): it changes these for the whole process, so that making one asks for a configuration of vLLM's. Here
    it finds one that compiles nothing."""
    if "vllm" not in sys.modules:
        return nullcontext()
    from transformers import PreTrainedConfig
    from vllm.config import CompilationMode, set_current_vllm_config

    # what is asked for, and no more: a running engine's own would keep its memory after it is closed
    model, compilation = SimpleNamespace(hf_config=PreTrainedConfig()), SimpleNamespace(mode=CompilationMode.NONE)
    plain: Any = SimpleNamespace(model_config=model, compilation_config=compilation)
    return set_current_vllm_config(plain)


def meeting(worker: Any) -> Path:
    """The file through which the processes of an engine find each other: vLLM makes one a start, and never removes it."""
    return Path(str(worker.distributed_init_method).removeprefix("file://"))


def forget_experts(model: Any) -> None:
    """On CPUs vLLM packs a layer's experts while it sets up their kernel, and not again where it finds one."""
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if method is not None and getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


def retie(model: Any) -> None:
    """On CPUs vLLM packs a tied output matrix once and keeps the old one across a reload; pack it again.

    Some models (Gemma 2) have no matrix of their own for it: their embedding is packed anew as it is loaded.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    heads = [m for m in model.modules() if isinstance(m, ParallelLMHead)]
    embeddings = [m for m in model.modules() if isinstance(m, VocabParallelEmbedding) and m not in heads]
    for head in heads:
        head.weight = next(m.weight for m in embeddings if m.weight.shape == head.weight.shape)
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)

"""What is trained and how: all weights or low-rank adapters, the optimiser, and activations kept or computed again."""

import re
from typing import TYPE_CHECKING

import torch

from data_contracts.config_align import AlignConfig, LoraConfig
from models.training import team

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def set_up(model: "PreTrainedModel", config: AlignConfig) -> None:
    """Add the adapters that `config` asks for (their seed is torch's), and let layers compute their activations again.

    A fresh adapter changes nothing (LoRA, arXiv 2106.09685, section 4.1): a policy that starts at its reference still does.
    """
    if config.lora is not None:
        _adapt(model, config.lora)
    if config.gradient_checkpointing:
        from transformers.modeling_layers import GradientCheckpointingLayer

        model.gradient_checkpointing_enable({"use_reentrant": False})
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True  # of this module alone: what lies inside stays without dropout
                for rate in ("dropout", "activation_dropout", "attention_dropout"):
                    if isinstance(getattr(module, rate, None), float):  # OPT's layers apply their own
                        setattr(module, rate, 0.0)


def _adapt(model: "PreTrainedModel", config: LoraConfig) -> None:
    """An adapter for every matrix but the embeddings: linear layers, and of a mixture of experts routers and all experts, which
    are one tensor of three dimensions. One that holds two matrices of each expert has room for the adapters of both.

    peft's own "all-linear" leaves out the experts of some families, and of others the layers beside them: it goes by names
    that it keeps by family. It goes by ours where it is not told the family, so it is handed the layers without the model.
    """
    import peft
    from transformers.pytorch_utils import Conv1D

    model.requires_grad_(False)
    body = torch.nn.ModuleDict({"body": model.base_model})
    modules, parameters = list[str](), list[str]()
    for where, module in body.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)):
            modules += [where] if module is not model.get_output_embeddings() else []
        else:
            routes = "router" in type(module).__name__.lower()
            own = module.named_parameters(recurse=False)
            parameters += [f"{where}.{name}" for name, p in own if p.dim() == 3 or (routes and p.dim() == 2)]
    both = [re.escape(name) for name in parameters if name.endswith("gate_up_proj")]
    lora = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=modules,
        target_parameters=parameters,
        rank_pattern=dict.fromkeys(both, 2 * config.rank),
        alpha_pattern=dict.fromkeys(both, 2 * config.alpha),
    )
    peft.inject_adapter_in_model(lora, body)


def trainable(model: "PreTrainedModel") -> dict[str, torch.nn.Parameter]:
    """By name, tied weights once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def trained_weights(model: "PreTrainedModel") -> dict[str, torch.Tensor]:
    """Whole, by name, in process 0. All processes of a team must ask at once."""
    return team.collected(trainable(model))


def build_optimizer(model: "PreTrainedModel", config: AlignConfig) -> torch.optim.Optimizer:
    """AdamW as in the papers since Llama, or RMSprop as in DPO's own code (one moment a weight where Adam keeps two)."""
    parameters = list(trainable(model).values())
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(parameters, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True)


def merge(model: "PreTrainedModel") -> None:
    """Add the adapters to the weights they adapt and take them off; without effect where there are none.

    Experts that are one tensor carry one adapter around another, for each of their weights (peft's ParamWrapper).
    """
    for name, module in list(model.named_modules()):
        parent, _, child = name.rpartition(".")
        inner = module
        while child != "base_layer" and hasattr(inner, "base_layer") and hasattr(inner, "merge"):
            inner.merge()
            inner = inner.base_layer
        if inner is not module:
            setattr(model.get_submodule(parent), child, inner)

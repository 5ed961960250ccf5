"""Tiny models of the families that users bring, by transformers' own configurations, with what each has of its own."""

from typing import Any

import torch

SIZE = {
    **{"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 512},
    **{"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32},
    **{"bos_token_id": 2, "eos_token_id": 0, "pad_token_id": 1},
}
MIXED = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 17}
MULTIPLIERS = {"embedding_multiplier": 3.0, "logits_scaling": 4.0, "residual_multiplier": 0.4, "attention_multiplier": 0.1}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 32}

# name → model type and what differs from SIZE; None takes a key away
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 3": ("llama", {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 64}, "tie_word_embeddings": True}),
    "llama with biases and dropout": ("llama", {"attention_bias": True, "mlp_bias": True, "attention_dropout": 0.5}),
    "mistral": ("mistral", {"sliding_window": 8}),
    "qwen 2": ("qwen2", {"head_dim": None, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    "qwen 3": ("qwen3", {"tie_word_embeddings": True}),
    "gemma": ("gemma", {"tie_word_embeddings": True}),
    "gemma 2": ("gemma2", CAPS | {"sliding_window": 8, "tie_word_embeddings": True}),
    "gemma 3": ("gemma3_text", MIXED | {"query_pre_attn_scalar": 17, "tie_word_embeddings": True}),
    "phi 2": ("phi", {"head_dim": None, "resid_pdrop": 0.3, "embd_pdrop": 0.3}),
    "phi 3": ("phi3", {"head_dim": None, "sliding_window": 8, "resid_pdrop": 0.3}),
    "phi 4 mini": ("phi3", {"head_dim": None, "partial_rotary_factor": 0.75, "tie_word_embeddings": True}),
    "olmo 2": ("olmo2", {"head_dim": None}),
    "olmo 3": ("olmo3", MIXED | {"head_dim": None}),
    "smollm 3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "granite": ("granite", MULTIPLIERS | {"head_dim": None, "tie_word_embeddings": True}),
    "granite 4 without mamba": (
        "granitemoehybrid",
        MULTIPLIERS
        | {"head_dim": None, "layer_types": ["attention"] * 2, "num_local_experts": 0, "shared_intermediate_size": 48},
    ),
    "stablelm": ("stablelm", {"head_dim": None, "partial_rotary_factor": 0.25, "qk_layernorm": True}),
    "nemotron": ("nemotron", {}),
    "command r7b": ("cohere2", MIXED | {"head_dim": None, "logit_scale": 0.25}),
    "gpt-neox": ("gpt_neox", {"head_dim": None, "num_key_value_heads": None}),
    "opt": ("opt", {"head_dim": None, "num_key_value_heads": None, "ffn_dim": 96, "word_embed_proj_dim": 64}),
    "glm 4": ("glm4", {}),
    "exaone 4": ("exaone4", MIXED),
    "mixtral": ("mixtral", EXPERTS | {"sliding_window": 8, "router_jitter_noise": 0.3, "output_router_logits": True}),
    "qwen 2 moe": ("qwen2_moe", EXPERTS | {"head_dim": None, "shared_expert_intermediate_size": 32}),
    "qwen 3 moe": ("qwen3_moe", EXPERTS),
    "olmoe": ("olmoe", EXPERTS | {"head_dim": None, "output_router_logits": True}),
    "granite moe": ("granitemoe", EXPERTS | MULTIPLIERS | {"head_dim": None}),
    "deepseek v3": (
        "deepseek_v3",
        EXPERTS
        | LATENT
        | {"head_dim": None, "num_key_value_heads": 2, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1},
    ),
}
_LINEAR = {
    **{"layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 2, "linear_num_key_heads": 2},
    **{"linear_key_head_dim": 16, "linear_value_head_dim": 16, "shared_expert_intermediate_size": 32},
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba 2": ("mamba2", {"num_attention_heads": None, "state_size": 8, "num_heads": 4, "n_groups": 1}),
    "jamba": ("jamba", {"num_experts": 2, "attn_layer_offset": 1, "attn_layer_period": 2, "use_mamba_kernels": False}),
    "lfm 2": ("lfm2", {"head_dim": None, "layer_types": ["conv", "full_attention"]}),
    "qwen 3 next": ("qwen3_next", EXPERTS | _LINEAR),
    "recurrent gemma": ("recurrent_gemma", {"head_dim": None, "block_types": ["recurrent", "attention"], "lru_width": 64}),
    "falcon": ("falcon", {"head_dim": None, "num_key_value_heads": None, "alibi": False}),
    "falcon with alibi": ("falcon", {"head_dim": None, "num_key_value_heads": None, "alibi": True, "multi_query": False}),
    "gpt-oss": ("gpt_oss", EXPERTS | MIXED),
}


def config_of(model_type: str, changes: dict[str, Any], **more: Any) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type](**{k: v for k, v in (SIZE | changes | more).items() if v is not None})


def family(model_type: str, changes: dict[str, Any], seed: int = 0, **more: Any) -> Any:
    """A random model with an attention that leaves nothing out, in which every weight matters."""
    from transformers import AutoModelForCausalLM

    config, draw = config_of(model_type, changes, **more), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=draw)
            p.copy_(noise * p.shape[-1] ** -0.5 if p.dim() > 1 else p + 0.2 * noise)
    return model

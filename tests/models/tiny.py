"""A tiny random model of any family of transformers, by shrinking the family's default configuration."""

from __future__ import annotations

import re
from typing import Any

import torch
import transformers as hf
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as FAMILIES

from tests.models.families import CONTEXT, LAYERS, VOCABULARY, WIDTH

_SIZES: tuple[tuple[str, int], ...] = (
    (r"(.*_)?vocab_size(_per_layer_input)?|vocabulary_size", VOCABULARY),
    (
        r"(text_|decoder_|num_)?(num_)?(hidden_layers|layers|n_layers?|decoder_layers|encoder_layers)|encoder_layers",
        LAYERS,
    ),
    (r"num_blocks|n_layers?", LAYERS),
    (r"hidden_size(_global)?|d_model|n_embd|dim|embedding_size|word_embed_proj_dim|emb_dim|embedding_dim", WIDTH),
    (r".*intermediate_size.*|.*ffn_dim|ffn_hidden_size|n_inner|d_ff|d_inner|feed_forward_size", 48),
    (r"(num_|decoder_|encoder_)?attention_heads|n_heads?|num_heads|num_(de|en)coder_attention_heads", 4),
    (r"num_key_value_heads|n_kv_heads|num_kv_heads|num_global_key_value_heads", 2),
    (r"(global_|attention_)?head_dim|qk_rope_head_dim|qk_nope_head_dim|v_head_dim", 8),
    (r"q_lora_rank|kv_lora_rank|.*_lora_rank", 16),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_target_positions|max_source_positions", CONTEXT),
    (r"num_experts|num_local_experts|n_routed_experts|moe_num_experts", 4),
    (r"num_experts_per_tok(en)?|moe_topk|moe_top_k|moe_k|top_k_experts|router_top_k", 2),
    (r"(linear|indexer|index)_(key_|value_|v_)?head_dim", 8),
    (r"(linear|indexer|index)_(num_)?(n_|key_|value_|attention_)?heads", 4),
    (r"mamba_chunk_size|chunk_size|ssm_state_size|mamba_d_state", 8),
    (r"n_groups?|topk_group", 1),
    (r"sliding_window(_size)?|attention_window_size|window_size|local_attention", 6),
)
"""Settings by name, and what they become; the first that fits counts."""

_MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1}
_PATTERN = ["sliding_attention", "full_attention"] * 2
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_QWEN4 = {
    "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}  # fmt: skip
_ASSISTANT = {"text_config": {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 4}}

_SETTINGS: dict[str, dict[str, Any]] = {
    "bamba": {**_MAMBA, "attn_layer_indices": [1, 3]},
    "big_bird": {"attention_type": "original_full"},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {"layer_types": _PATTERN, "rope_parameters": dict.fromkeys(_PATTERN, _ROPE)},
    "dbrx": {
        "attn_config": {"rope_theta": 1e4, "clip_qkv": 8.0, "kv_n_heads": 2},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
    "dots1": {
        "n_routed_experts": 4, "moe_intermediate_size": 16, "n_shared_experts": 1, "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_kv_shared_layers": 2, "layer_types": _PATTERN, "hidden_size_per_layer_input": 8,
        "activation_sparsity_pattern": [0.0] * LAYERS,
    },
    "gemma4_assistant": _ASSISTANT,
    "gemma4_unified_assistant": _ASSISTANT,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {**_MAMBA, "layer_types": ["mamba", "attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"num_layers": 2, "zero_expert_num": 2, "expert_ffn_hidden_size": 16},
    "mamba2": {"num_heads": 8, "state_size": 8},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "reformer": {
        "is_decoder": True, "attn_layers": ["local", "local"], "axial_pos_embds": False, "num_hidden_layers": 2,
        "local_attn_chunk_length": 4, "attention_head_size": 8,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2, "attention_head_dim": 16, "n_mamba_heads": 2,
        "attention_hidden_size": 64,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2, "num_mem_blocks": 1, "hybrid_layer_ids": [1, 3],
        "mamba_ngroups": 1, "n_mamba_heads": 8, "mamba_headdim": 8,
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
"""What the sizes do not settle."""


def tiny(family: str, architecture: str = "", **settings: Any) -> Any:
    """A random model of a family of transformers in which attention and MLP both matter.

    Args:
        family: Its `model_type`.
        architecture: Name of the class; by default the one of `AutoModelForCausalLM`.
        settings: Settings of the configuration.
    """
    kind, build = CONFIG_MAPPING[family], getattr(hf, architecture or FAMILIES[family])
    sizes = _shrunk(kind())
    if "kv_lora_rank" in sizes:
        sizes["num_key_value_heads"] = 4
    if "is_decoder" in vars(kind()) and "is_encoder_decoder" not in settings:
        sizes["is_decoder"] = True
    config = kind(**_merged(sizes, {**_SETTINGS.get(family, {}), **settings}))
    if not isinstance(config, build.config_class):
        config = config.get_text_config()
    torch.manual_seed(0)
    return _stirred(build(config).eval())


def _shrunk(config: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in {**vars(type(config)), **vars(config)}.items():
        if isinstance(value, hf.PreTrainedConfig):
            made[name] = _shrunk(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            size = next((size for rule, size in _SIZES if re.fullmatch(rule, name)), None)
            if size is not None:
                made[name] = size
            elif name.endswith("token_id") and value >= VOCABULARY:
                made[name] = 1
        elif value is None and name in ("num_key_value_heads", "head_dim"):
            made[name] = {"num_key_value_heads": 2, "head_dim": 8}[name]
    return made


def _merged(sizes: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    own = {k: _merged(sizes.get(k) or {}, v) if isinstance(v, dict) else v for k, v in settings.items()}
    return {**sizes, **own}


def _stirred(model: nn.Module) -> nn.Module:
    """Weights large enough for every part to matter, and no vector of zeros."""
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
            elif not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=noise))
    return model

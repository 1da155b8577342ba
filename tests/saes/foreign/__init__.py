"""Checkpoints in the layouts of other libraries, each with its library's own forward, written out from its code."""

from __future__ import annotations

from tests.saes.foreign.case import Case, Forward
from tests.saes.foreign.dictionary_learning import (
    auto_encoder,
    auto_encoder_new,
    auto_encoder_topk,
    batch_topk,
    dictionary,
    gated_auto_encoder,
    jump_relu_auto_encoder,
    matryoshka,
)
from tests.saes.foreign.files import circuit, layers, openai, qwen
from tests.saes.foreign.scopes import gemma, gemma_2, llama_scope, moss
from tests.saes.foreign.scripts import end_to_end, nanda
from tests.saes.foreign.sparsify import signed_sparsify, sparsify

__all__ = [
    "CASES", "Case", "Forward", "POST", "auto_encoder", "auto_encoder_topk", "batch_topk", "circuit", "dictionary",
    "end_to_end", "gated_auto_encoder", "gemma", "gemma_2", "llama_scope", "matryoshka", "moss", "nanda", "openai",
    "qwen", "sparsify",
]  # fmt: skip

POST = ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post")
PRE = ("blocks.1.hook_resid_pre", "blocks.1.hook_resid_pre")
MLP = ("blocks.1.hook_mlp_out", "blocks.1.hook_mlp_out")
Z = ("blocks.1.attn.hook_z", "blocks.1.attn.hook_z")
ACROSS = ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
NORMED = ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out")
NONE = ("", "")

CASES = [
    Case("AutoEncoder", "dictionary_learning", auto_encoder, POST),
    Case("AutoEncoderNew", "dictionary_learning", auto_encoder_new, POST),
    Case("GatedAutoEncoder", "dictionary_learning", gated_auto_encoder, POST),
    Case("AutoEncoderTopK", "dictionary_learning", auto_encoder_topk, POST),
    Case("BatchTopKSAE", "dictionary_learning", batch_topk, POST),
    Case("MatryoshkaBatchTopKSAE", "dictionary_learning", matryoshka, POST),
    Case("JumpReluAutoEncoder", "dictionary_learning", jump_relu_auto_encoder, POST),
    Case("sparsify", "sparsify", sparsify(), MLP),
    Case("sparsify-latents", "sparsify", sparsify(expansion=False), MLP),
    Case("sparsify-signed", "sparsify", signed_sparsify, MLP),
    Case("sparsify-groupmax", "sparsify", sparsify("groupmax"), MLP),
    Case("sparsify-transcoder", "sparsify", sparsify(transcode=True), ACROSS),
    Case("sparsify-skip", "sparsify", sparsify(transcode=True, skip=True), ACROSS),
    Case("gemma_scope", "gemma_scope", gemma("res"), POST),
    Case("gemma_scope-att", "gemma_scope", gemma("att"), Z),
    Case("gemma_scope-transcoder", "gemma_scope", gemma("transcoders"), NORMED),
    Case("gemma_scope_2", "gemma_scope_2", gemma_2("sae"), POST),
    Case("gemma_scope_2-transcoder", "gemma_scope_2", gemma_2("transcoder"), ACROSS),
    Case("gemma_scope_2-affine", "gemma_scope_2", gemma_2("transcoder", affine=True), ACROSS),
    Case("llama_scope", "llama_scope", llama_scope(5.0, 5.0, POST, 0.6), POST),
    Case("llama_scope-transcoder", "llama_scope", llama_scope(8.0, 2.0, NORMED, 0.2), NORMED),
    Case("llama_scope-any-norm", "llama_scope", llama_scope(8.0, 2.0, NORMED, 0.2, by_norm=False), NORMED),
    Case("moss-jumprelu", "language_model_saes", moss("jumprelu", "dataset-wise"), POST),
    Case("moss-relu", "language_model_saes", moss("relu", "dataset-wise"), POST),
    Case("moss-topk", "language_model_saes", moss("topk", "dataset-wise"), POST),
    Case("moss-folded", "language_model_saes", moss("jumprelu", "inference"), POST),
    Case("moss-token", "language_model_saes", moss("topk", "token-wise"), POST),
    Case("moss-r1", "language_model_saes", moss("jumprelu", "dataset-wise", new=False), POST),
    Case("openai-topk", "openai", openai("TopK"), NONE),
    Case("openai-relu", "openai", openai("ReLU"), NONE),
    Case("goodfire", "goodfire", layers("encoder_linear", "decoder_linear", "Llama-3.1-8B-Instruct-SAE-l1.pth"), POST),
    Case("deepseek_r1", "linear_layers", layers("encoder", "decoder", "DeepSeek-R1-Distill-Llama-8B-SAE-l1.pt"), POST),
    Case("circuit_tracer", "circuit_tracer", circuit, ACROSS),
    Case("qwen_scope", "qwen_scope", qwen, POST),
    Case("nanda", "nanda", nanda(), Z),
    Case("nanda-vanilla", "nanda", nanda("vanilla", unit_norm=True), PRE),
    Case("nanda-topk", "nanda", nanda("topk", unit_norm=True), PRE),
    Case("nanda-batchtopk", "nanda", nanda("batch-topk"), PRE),
    Case("nanda-matryoshka", "nanda", nanda("global-matryoshka-topk", unit_norm=True), PRE),
    Case("nanda-jumprelu", "nanda", nanda("jumprelu", unit_norm=True), PRE),
    Case("e2e", "e2e_sae", end_to_end(published=True), PRE),
    Case("e2e-training", "e2e_sae", end_to_end(published=False), PRE),
]

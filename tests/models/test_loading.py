"""References, devices, types, fingerprints, and what is said about bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from saebench.errors import UserError
from saebench.models import Subject, load_model
from saebench.models.fingerprint import content_hash
from tests.models.conftest import Case, case_of
from tests.models.families import LAYERS, WIDTH, build, token_rows


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in half precision on disk, with a tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    build("llama").to(torch.float16).save_pretrained(path)
    tokenizer(path)
    return path


def tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "cat": 3, "dog": 4, "<unk>": 5}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    fast = hf.PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.save_pretrained(path)


def test_a_directory(directory: Path) -> None:
    subject = load_model(str(directory), device="cpu")
    assert (subject.name, subject.n_layers, subject.d_model, subject.max_context) == ("tiny-llama", LAYERS, WIDTH, 64)
    assert subject.dtype == torch.float32 and subject.device == torch.device("cpu")
    assert not any(parameter.requires_grad for parameter in subject.model.parameters())
    assert subject.special_ids == {0, 1, 2} and subject.bos_id == 1
    assert subject.tokenizer("cat dog")["input_ids"] == [3, 4]
    tokens = token_rows()
    with torch.no_grad():
        expected = hf.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)(tokens).logits
    assert torch.equal(subject.logits(subject.forward(tokens).final), expected)
    assert load_model(directory, device="cpu", dtype="float16").dtype == torch.float16


def test_equal_weights_have_one_fingerprint(directory: Path) -> None:
    subject = load_model(directory, device="cpu")
    prints = {
        subject.fingerprint,
        load_model(directory, device="cpu").fingerprint,
        load_model(directory, device="cpu", dtype="fp16").fingerprint,
        load_model(hf.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)).fingerprint,
        load_model(subject.model).fingerprint,
        load_model(torch.compile(subject.model)).fingerprint,
    }
    assert len(prints) == 1 and len(prints.pop()) == 16
    model = hf.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[3, 4] += 1e-6
    assert load_model(model).fingerprint != subject.fingerprint


def test_content_hash_depends_on_names_shapes_and_values_only() -> None:
    a, b = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    base = content_hash({"a": a, "b": b})
    assert content_hash({"b": b.clone(), "a": a.clone()}) == base
    assert content_hash({"a": a.t().contiguous().t(), "b": b.half()}) == base
    assert content_hash({"a": a.reshape(3, 2), "b": b}) != base
    assert content_hash({"a": a, "c": b}) != base
    assert content_hash({"a": a, "b": -b}) != base
    assert content_hash({"a": a, "b": a}) == content_hash({"a": a, "b": a.clone()})  # tied or copied


def test_objects(llama_case: Case) -> None:
    subject = llama_case.subject
    assert load_model(subject) is subject
    assert subject.name == "LlamaForCausalLM" and subject.tokenizer is None
    assert subject.special_ids == {1, 2} and subject.bos_id == 1  # from the configuration
    assert subject.vocab_size == 61
    assert load_model(llama_case.model, device="cpu", dtype=torch.float32).model is llama_case.model
    marker = object()
    assert load_model(llama_case.model, tokenizer=marker).tokenizer is marker
    with pytest.raises(UserError, match=r"is in torch.float32, not in torch.float16: convert it"):
        load_model(llama_case.model, dtype="half")


def test_tied_embeddings() -> None:
    case = case_of("qwen3")
    assert case.model.lm_head.weight is case.model.model.embed_tokens.weight
    assert torch.equal(case.subject.logits(case.run.final), case.plain.logits)


def test_vision_language_model_is_read_as_its_language_model() -> None:
    text = build("gemma3").config
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    torch.manual_seed(0)
    model = hf.Gemma3ForConditionalGeneration(
        hf.Gemma3Config(text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4, image_token_id=60)
    ).eval()
    subject, tokens = load_model(model), token_rows() % 50
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits
    run = subject.forward(tokens, ["blocks.1.hook_mlp_out"])
    assert (subject.n_layers, subject.d_model) == (LAYERS, WIDTH)
    assert torch.equal(subject.logits(run.final), logits)
    again = subject.resume(run, "blocks.1.hook_mlp_out", run.acts["blocks.1.hook_mlp_out"])
    assert torch.equal(subject.logits(again), logits)


def test_unknown_families_still_have_the_residual_stream() -> None:
    config = hf.MambaConfig(hidden_size=WIDTH, num_hidden_layers=3, vocab_size=61)
    torch.manual_seed(0)
    subject = load_model(hf.MambaForCausalLM(config).eval())
    assert {hook.rpartition(".")[2] for hook in subject.sites()} == {"hook_embed", "hook_resid_pre", "hook_resid_post"}
    run = subject.forward(token_rows(), subject.sites())
    assert all(torch.equal(subject.resume(run, hook, act), run.final) for hook, act in run.acts.items())
    with pytest.raises(UserError, match="'blocks.1.hook_mlp_out' does not exist on MambaForCausalLM"):
        subject.site("blocks.1.hook_mlp_out")


# bad input


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("blocks.1.hook_resid_pots", "Unknown hook.*Did you mean 'blocks.1.hook_resid_post'"),
        ("resid_post", "Unknown hook 'resid_post'"),
        ("blocks.9.hook_resid_post", "names layer 9, but the model has layers 0 to 3"),
        ("blocks.1.hook_mlp_in", r"ambiguous.*Use mlp.hook_in .*or hook_resid_mid"),
        ("blocks.1.hook_attn_in", r"ambiguous.*Use attn.hook_in .*or hook_resid_pre"),
        ("blocks.1.hook_resid_post ", "Unknown hook"),
    ],
)
def test_unknown_hooks(llama_case: Case, hook: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        llama_case.subject.forward(llama_case.tokens, [hook])


def test_no_middle_in_a_parallel_block() -> None:
    with pytest.raises(UserError, match=r"does not exist on GPTNeoXForCausalLM.*attention and MLP in parallel"):
        case_of("gpt_neox").subject.site("blocks.0.hook_resid_mid")


def test_sites_tell_their_layer_and_width(llama_case: Case) -> None:
    assert llama_case.subject.site("blocks.2.hook_resid_post") == ("blocks.2.hook_resid_post", 2, WIDTH, True)
    site = llama_case.subject.site("blocks.3.attn.hook_z")
    assert (site.layer, site.is_residual, site.kind) == (3, False, "attn.hook_z")
    wide = load_model(hf.Qwen3ForCausalLM(hf.Qwen3Config(**{**_small(), "head_dim": 16})))
    assert wide.site("blocks.0.attn.hook_z").width == 64 != wide.d_model


def _small() -> dict[str, Any]:
    return {"vocab_size": 61, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip


def test_a_hook_that_never_fires_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    subject = load_model(model)
    subject.forward(token_rows())
    monkeypatch.setattr(model.model.layers[2], "forward", lambda hidden, **_: hidden)
    with pytest.raises(UserError, match="'blocks.2.mlp.hook_in' never fired"):
        subject.forward(token_rows(), ["blocks.2.mlp.hook_in"])
    with pytest.raises(UserError, match="'blocks.2.attn.hook_z' never fired"):
        subject.forward(token_rows(), ["blocks.2.attn.hook_z"], final=False)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(5, dtype=torch.long), r"shape \[batch, length\]"),
        (torch.zeros(1, 5), r"ids of shape"),
        (torch.zeros(0, 5, dtype=torch.long), r"ids of shape"),
        (torch.zeros(1, 65, dtype=torch.long), "65 tokens is longer than the 64"),
        (torch.full((1, 5), 61), "Token id 61 is outside the 61"),
    ],
)
def test_bad_tokens(llama_case: Case, tokens: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        llama_case.subject.forward(tokens)


def test_bad_devices_and_types(llama_case: Case) -> None:
    with pytest.raises(UserError, match="'cuda:99' was asked for, but there"):
        load_model(llama_case.model, device="cuda:99")
    with pytest.raises(UserError, match="Unknown device 'gpu'"):
        load_model(llama_case.model, device="gpu")
    with pytest.raises(UserError, match="Unknown dtype 'float31'. Did you mean 'float32'"):
        load_model(llama_case.model, dtype="float31")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_absent(directory: Path) -> None:
    with pytest.raises(UserError, match="'cuda' was asked for, but there is no CUDA device here: use device='cpu'"):
        load_model(directory, device="cuda")


def test_bad_references(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(UserError, match="no model directory './nowhere'"):
        load_model("./nowhere")
    with pytest.raises(UserError, match="has no config.json"):
        load_model(tmp_path)
    with pytest.raises(UserError, match="Did you mean .*tiny-llama"):
        load_model(str(directory.with_name("tiny-lama")), offline=True)
    with pytest.raises(UserError, match="is a file: give the directory"):
        load_model(directory / "config.json")
    with pytest.raises(UserError, match="no local directory, and: --offline was given"):
        load_model("no-such-owner/no-such-model", offline=True)
    with pytest.raises(UserError, match="Unknown kind of model reference 'nosuch:'"):
        load_model("nosuch:model")
    with pytest.raises(UserError, match="Cannot use 'int' as a model"):
        load_model(3)
    with pytest.raises(UserError, match="not a transformers causal language model"):
        load_model(nn.Linear(2, 2))


def test_broken_checkpoints(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(UserError, match="Cannot load a causal language model"):
        load_model(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    with pytest.raises(UserError, match="Cannot load a causal language model"):
        load_model(tmp_path, device="cpu")  # no weights
    whole = (directory / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="Cannot load a causal language model"):
        load_model(tmp_path, device="cpu")
    hf.LlamaModel(hf.LlamaConfig(**_small())).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="lacks 1 weights of LlamaForCausalLM, such as 'lm_head.weight'"):
        load_model(tmp_path, device="cpu")


def test_models_that_cannot_be_subjects() -> None:
    with pytest.raises(UserError, match="no language-model head"):
        load_model(hf.LlamaModel(hf.LlamaConfig(**_small())))
    torch.manual_seed(0)
    bert = hf.BertLMHeadModel(hf.BertConfig(hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2,
                                            num_attention_heads=4, vocab_size=61)).eval()  # fmt: skip
    with pytest.raises(UserError, match="not causal"):
        load_model(bert).forward(token_rows())
    model = build("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    for hooks in ([], ["blocks.1.hook_mlp_out"]):
        with pytest.raises(UserError, match="gives NaN or Inf"):
            load_model(model).forward(token_rows(), hooks)


def test_adapters_are_found_by_scheme(monkeypatch: pytest.MonkeyPatch, llama_case: Case) -> None:
    class Entry:
        name = "toy"

        def load(self) -> Any:
            return lambda ref, **options: llama_case.subject if ref == "toy:llama" and options["offline"] else None

    monkeypatch.setattr("saebench.models.loading.entry_points", lambda group: [Entry()])
    assert load_model("toy:llama", offline=True) is llama_case.subject


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, saebench.models; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert issubclass(Subject, object)

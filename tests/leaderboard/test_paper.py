"""A paper's parts: LaTeX that holds together, figures with their fonts, facts that are those of the rows."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from saebench import registry
from saebench.cli import main
from saebench.errors import UserError
from saebench.leaderboard import citations
from saebench.leaderboard.build import build
from saebench.leaderboard.card import card
from saebench.leaderboard.citations import bibtex, entries, keys_of
from saebench.leaderboard.paper import paper
from saebench.results import Results, Row

HOOK = "blocks.1.hook_resid_post"
METRICS = {"l0": ("lower", 32.0), "loss_recovered": ("higher", 0.97), "tpp": ("higher", 0.2), "mine": ("higher", 0.5)}


def make_rows(**more: Any) -> list[Row]:
    """Four SAEs, one with a name that TeX would choke on, a null, and a failure."""
    rows = []
    names = ["plain", "50%_of_{a}\\b", "<script>", "x&y#z", "random-32"]
    for place, sae in enumerate(names):
        for metric, (better, value) in METRICS.items():
            facts = {
                "sae": sae, "metric": metric, "value": value + 0.01 * place, "stderr": 0.004, "better": better,
                "slice": "n=10" if metric == "tpp" else "", "architecture": "topk", "d_sae": 64, "model": "tiny_model",
                "model_hash": "abc123", "hook_in": HOOK, "hook_out": HOOK, "corpus": "text", "corpus_hash": "c0ffee",
                "tokens": 1000, "context": 64, "seed": 0, "dtype": "float32", "suite": "core", "n": 40,
                "settings": {"n": [10]} if metric == "tpp" else {}, "role": "null" if sae == "random-32" else "sae",
                "versions": {"saebench": "0.1.0", "torch": "2.13.0"}, "signature": f"{metric}@1|{sae}", **more,
            }  # fmt: skip
            rows.append(Row(**facts))
    rows[3] = Row(sae="plain", metric="mine", status="error", reason="100% of $5", model="tiny_model", hook_out=HOOK,
                  corpus="text", signature="mine@1|plain", better="higher")  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return paper(Results(make_rows()), tmp_path_factory.mktemp("paper"), {"columns": list(METRICS), "pareto": [
        {"x": "l0", "y": "loss_recovered"}]})  # fmt: skip


def check_latex(text: str) -> None:
    """Environments closed in order, braces balanced, every row of a table as wide as its layout."""
    bare = re.sub(r"(?m)^%.*$", "", text)
    open_ones: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", bare):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", bare.replace("\\\\", "")):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
    for layout, body in re.findall(r"\\begin\{tabular\}\{((?:[^{}]|\{[^{}]*\})*)\}(.*?)\\end\{tabular\}", bare, re.S):
        columns = len(re.sub(r"@?\{[^{}]*\}", "", layout))
        for line in body.splitlines():
            if line.rstrip().endswith("\\\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == columns - 1, line
    assert not re.search(r"(?<!\\)[#]", bare)


def test_the_latex_holds_together(written: dict[str, Path]) -> None:
    for name in ("tables.tex", "methods.tex", "paper.tex"):
        check_latex(written[name].read_text())


TEX = "no LaTeX: `apt-get install texlive-latex-recommended lmodern`, then `pytest tests/leaderboard/test_paper.py`"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason=TEX)
def test_the_latex_compiles_and_fits_the_page(tmp_path: Path) -> None:
    """Every column that the rows have, on a page of its own where it must, and whom they cite."""
    rows = [
        replace(row, metric=name, signature=f"{row.signature}|{name}")
        for name in ("loss_recovered", "explained_variance", "mean_absorption_fraction", "sparse_probing", "scr", "l0")
        for row in make_rows()
        if row.metric == "l0"
    ]
    columns = list(dict.fromkeys(row.metric for row in rows))
    paper(Results(rows), tmp_path, {"columns": columns, "pareto": [{"y": "scr"}]})
    build(Results(rows), tmp_path, {"columns": columns, "pareto": []})
    page = (tmp_path / "paper.tex").read_text()
    (tmp_path / "paper.tex").write_text(page.replace(r"\input{tables}", r"\input{tables}\input{board}"))
    for words in (["pdflatex", "-halt-on-error", "paper"], ["bibtex", "paper"], ["pdflatex", "paper"]) * 2:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Warning--" not in done.stdout, done.stdout
    assert not re.findall(r"Overfull \\hbox.*|Float too large.*|undefined.*", done.stdout)


def test_tables_mark_what_is_not_worse_than_the_best_and_are_signed(written: dict[str, Path], tmp_path: Path) -> None:
    text = written["tables.tex"].read_text()
    assert r"\toprule" in text and r"\midrule" in text and r"\mathbf" in text
    assert re.search(r"Tokens 1000, seed 0\. Signature [0-9a-f]{16} of 20 measurements\.", text)
    renamed = [replace(row, signature=f"{row.signature}|other") for row in make_rows()]
    other = paper(Results(renamed), tmp_path, {"columns": list(METRICS), "pareto": []})
    digests = {re.findall(r"Signature (\w+)", f.read_text())[0] for f in (written["tables.tex"], other["tables.tex"])}
    assert len(digests) == 2


def test_the_facts_are_those_of_the_rows_and_disagreement_is_marked(written: dict[str, Path], tmp_path: Path) -> None:
    text = written["methods.tex"].read_text().replace(r"\rightskip=0pt plus 3em ", "")
    for fact in (r"model & tiny\_model (weights abc123)", "data: text", "1000 tokens, context 64, hash c0ffee",
                 "torch & 2.13.0", "SAEs & 4", "nulls & 1: random-32", "rows without a number & 1 of 20",
                 r"tpp & version 1, n {[}10{]}~\cite{chanin2026reliable,karvonen2024erasure}"):  # fmt: skip
        assert fact in text, fact
    assert text.count(r"$\ne$") == 1, "the caption alone"
    rows = make_rows()
    rows[0] = Row.from_json(rows[0].to_json().replace('"seed":0', '"seed":1'))
    mixed = paper(Results(rows), tmp_path, {"columns": ["l0"]})["methods.tex"].read_text()
    mixed = mixed.replace(r"\rightskip=0pt plus 3em ", "")
    assert r"seed $\ne$ & 0; 1" in mixed


def test_figures_are_a_column_wide_with_their_fonts(written: dict[str, Path]) -> None:
    figures = [path for name, path in written.items() if name.startswith("figures/")]
    assert {path.name.split("-")[0] for path in figures} == {"loss_recovered", "dots"}
    for path in figures:
        data = path.read_bytes()
        streams = [zlib.decompress(part) for part in re.findall(rb"stream\r?\n(x\x9c.*?)\r?\nendstream", data, re.S)]
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
        assert box is not None and float(box[1]) == pytest.approx(3.4 * 72, abs=0.5) and float(box[2]) <= 9.5 * 72
        assert streams and b"/FontFile2" in data and b"/Type3" not in data


def test_every_paper_that_is_cited_is_in_the_bibliography(written: dict[str, Path]) -> None:
    cited = {
        key for keys in re.findall(r"\\cite\{([^}]*)\}", written["methods.tex"].read_text()) for key in keys.split(",")
    }
    listed = re.findall(r"@\w+\{([^,]+),", written["metrics.bib"].read_text())
    assert cited <= set(listed) and len(listed) == len(set(listed))
    assert {"saebench", "bricken2023monosemanticity", "karvonen2024erasure"} <= set(listed)


def test_every_entry_is_whole_and_belongs_to_a_metric() -> None:
    used = {key for metric in registry.metrics() for key in keys_of(metric)}
    assert used == set(entries())
    keys = re.findall(r"(?m)^(\w+):", Path(citations.__file__).with_name("citations.yaml").read_text(encoding="utf-8"))
    assert len(keys) == len(entries()), "a key that stands twice loses its first entry"
    for entry in entries().values():
        assert entry["title"] and entry["author"] and 1980 < entry["year"] < 2030
    assert set(keys_of("tpp@saebench-legacy")) == {"karvonen2025saebench", "chanin2026reliable", "karvonen2024erasure"}
    text = bibtex(registry.metrics())
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))


def test_the_card_is_read_by_the_hub(tmp_path: Path) -> None:
    text = card(Results(make_rows()), "<script>")
    model, results = model_index_to_eval_results(yaml.safe_load(text.split("---")[1])["model-index"])
    assert model == "<script>"
    by_metric = {one.metric_type: one for one in results}
    assert by_metric["l0"].metric_value == 32.02 and by_metric["l0"].dataset_revision == "c0ffee"
    assert by_metric["tpp"].metric_name == "tpp [n=10]" and (by_metric["tpp"].metric_args or {})["stderr"] == 0.004
    parsed = ModelCard(text)
    assert len(parsed.data.to_dict()["model-index"][0]["results"][0]["metrics"]) == len(METRICS)
    assert "<script>" not in parsed.text
    assert "| loss_recovered | 0.99 ± 0.004 | 1.01 |" in re.sub(r" +", " ", parsed.text.replace("\\", ""))


def test_a_card_is_of_one_sae() -> None:
    with pytest.raises(UserError, match="Choose with --sae"):
        card(Results(make_rows()))
    with pytest.raises(UserError, match="Did you mean 'plain'"):
        card(Results(make_rows()), "plane")


def test_the_command_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Results(make_rows()).save(tmp_path / "run")
    board = tmp_path / "board.yaml"
    board.write_text("columns: [l0, mine]\npareto: []\n")
    words = ["report", str(tmp_path / "run"), "--board", str(board)]
    for more, told in (
        (["--paper", "--out", str(tmp_path / "p")], "metrics.bib"),
        (["--card", "--sae", "plain"], "---"),
    ):
        with pytest.raises(SystemExit) as left:
            main([*words, *more])
        assert left.value.code == 0
        assert told in capsys.readouterr().out
    for more in (["--paper"], ["--paper", "--card"]):
        with pytest.raises(SystemExit) as left:
            main([*words, *more])
        assert left.value.code == 2

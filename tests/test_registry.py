"""Discovery: built-in metrics and plug-ins through one door; a broken plug-in warns and stops nobody."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import saebench as sb
from saebench import registry
from saebench.leaderboard import build
from tests.helpers.toys import ToySAE, token_rows

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both test packages are on the path, as if installed."""
    for name in ("good", "broken"):
        monkeypatch.syspath_prepend(str(PLUGINS / name))
    registry._installed.cache_clear()
    yield
    monkeypatch.undo()
    registry._installed.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_third_party_metric_is_planned_run_and_shown(llama: nn.Module, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert "loudness" in registry.metrics()
    assert any("saebench_broken_plugin" in str(w.message) and "never finished" in str(w.message) for w in caught)
    suite = {"name": "theirs", "metric": ["l0", "loudness"]}
    results = sb.evaluate(ToySAE(), suite, model=llama, data={"text": token_rows()}, out=tmp_path / "run")
    row = next(r for r in results.rows if r.metric == "loudness" and r.role == "sae")
    frame = results.frame().set_index(["sae", "metric"]).value
    l1 = sb.evaluate(ToySAE(), "core", metrics=["l1"], model=llama, data={"text": token_rows()}).rows[0].value
    assert row.value == pytest.approx(l1 / frame[row.sae, "l0"])
    assert row.stderr > 0 and "loudness@1" in row.signature
    files = build(tmp_path / "run", tmp_path / "board", board={"columns": ["l0", "loudness"], "pareto": []})
    assert "loudness" in files["board.md"].read_text().lower()


def test_include_names_what_is_wrong(tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    failing = tmp_path / "failing.py"
    failing.write_text("import no_such_module\n")
    taken = tmp_path / "taken.py"
    taken.write_text(
        "from saebench import Sums, metric\nfrom saebench.inputs import Activity\n\n"
        "@metric(version=1, unit='', better='none')\n"
        "def l0(a: Activity) -> Sums:\n    '''Mine.'''\n    return Sums(x=a.l0)\n"
    )
    for path, word in [
        (tmp_path / "none.py", "none.py"),
        (empty, "no metric"),
        (failing, "no_such_module"),
        (taken, "built-in"),
    ]:
        with pytest.raises(sb.UserError, match=word):
            registry.include(path)


def test_a_metric_declares_itself_or_says_what_is_missing() -> None:
    from saebench.inputs import Activity

    with pytest.raises(sb.UserError, match="takes no input"):
        sb.metric(version=1, unit="", better="none")(lambda: sb.Sums())

    def wrong(a: "Activty") -> sb.Sums:  # noqa: F821, UP037
        return sb.Sums()

    with pytest.raises(sb.UserError, match="Activity"):
        sb.metric(version=1, unit="", better="none")(wrong)
    with pytest.raises(sb.UserError, match="higher"):
        sb.metric(version=1, unit="", better="hihger")
    with pytest.raises(sb.UserError, match="documents"):
        sb.metric(version=1, unit="", better="none", units="document")  # type: ignore[arg-type]
    with pytest.raises(sb.UserError, match=r"'1\.0'"):
        sb.metric(version="1.0", unit="", better="none")  # type: ignore[arg-type]
    with pytest.raises(sb.UserError, match="annotate it"):
        sb.metric(version=1, unit="", better="none")(lambda a: sb.Sums())

    @sb.metric(version=1, unit="", better="none")
    def fine(a: Activity, *, k: int = 3) -> sb.Sums:
        """A metric."""
        return sb.Sums(x=a.l0)

    assert fine.signature == "fine@1(k=3)" and fine.with_settings(k=5).signature == "fine@1(k=5)"
    with pytest.raises(sb.UserError, match="'k'"):
        fine.with_settings(kk=1)


def test_a_metric_defined_here_and_now_is_included_and_planned() -> None:
    from saebench.inputs import Activity

    def twice_l0(a: Activity) -> sb.Sums:
        """Twice the latents of a token."""
        return sb.Sums(x=2 * a.l0)

    def l0(a: Activity) -> sb.Sums:
        """A name that is taken."""
        return sb.Sums(x=a.l0)

    decorate = sb.metric(version=1, unit="latents", better="none")
    assert sb.include(decorate(twice_l0)) == ["twice_l0"]
    assert [metric.name for metric in sb.load_suite({"metric": ["l0", "twice_l0"]}).metrics()] == ["l0", "twice_l0"]
    with pytest.raises(sb.UserError, match="The session defines 'l0', which is a built-in metric"):
        sb.include(decorate(l0))


def test_every_built_in_metric_is_documented() -> None:
    """A tooltip, a formula below it, a unit, and metadata that a board can use."""
    for name, metric in registry.metrics().items():
        assert metric.summary.endswith("."), name
        assert len(metric.doc.splitlines()) > 2, f"{name} has no formula"
        assert metric.unit and metric.version >= 1, name
        assert metric.best is None or metric.better != "none", name


@pytest.mark.parametrize(
    ("found", "words"), [(3, "returns a int"), (sb.Sums(x=torch.ones(3)), r"shape \[3\].* 5 rows")]
)
def test_what_a_metric_returns_wrongly_is_said_in_its_row(found: object, words: str) -> None:
    from saebench.engine.accumulate import reduced
    from saebench.inputs import Activity

    def mine(a: Activity) -> sb.Sums:
        return found  # type: ignore[return-value]

    metric = sb.metric(version=1, unit="", better="none")(mine)
    status, reason = reduced(metric, {Activity: None}, torch.zeros(5, dtype=torch.long), 1)
    assert status == "error" and re.search(words, str(reason)), reason


def test_a_metric_declared_without_keywords_is_refused() -> None:
    def bare(a: sb.inputs.Activity) -> sb.Sums:
        """Says nothing of itself."""
        return sb.Sums(x=a.l0)

    with pytest.raises(TypeError, match="missing 3 required keyword-only arguments: 'version', 'unit', and 'better'"):
        sb.metric(bare)  # type: ignore[call-arg]
    with pytest.raises(sb.UserError, match="declared by keywords"):
        sb.metric(bare, version=1, unit="", better="none")

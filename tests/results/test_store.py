"""The store: appended rows survive kills, cuts and company."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saebench.errors import UserError
from saebench.results import Results, Row, Store, check_writable, read_rows
from saebench.results.store import latest


def row(name: str, **facts: Any) -> Row:
    return Row(sae="ä", metric=name, signature=name, value=1.0, sums={"x": np.arange(3.0)}, **facts)


def names(rows: list[Row]) -> list[str]:
    return [r.metric for r in rows]


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    store.append([row("a"), row("b")])
    store.append(row("c"))
    store.append([])
    assert names(store.rows()) == ["a", "b", "c"]
    assert names(read_rows(store.file)) == ["a", "b", "c"]


def test_a_file_cut_at_any_byte_loses_no_earlier_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # for speed
    file = tmp_path / "rows.jsonl"
    store = Store(file)
    store.append([row("a"), row("b")])
    kept = file.stat().st_size
    store.append(row("c"))
    whole = file.read_bytes()
    for cut in range(kept, len(whole) + 1):
        file.write_bytes(whole[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = names(read_rows(file))
        assert found in (["a", "b"], ["a", "b", "c"])
        assert (found == ["a", "b", "c"]) == (cut >= len(whole) - 1)
        store.append(row("d"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert names(read_rows(file)) == [*found, "d"]


def test_a_cut_line_is_named_in_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    Store(file).append(row("a"))
    with file.open("ab") as handle:
        handle.write(b'{"sae":"x","met')
    with pytest.warns(UserWarning, match=r"skipped 1 line.*line 2"):
        assert names(read_rows(file)) == ["a"]


@pytest.mark.parametrize("junk", [b"\0" * 70_000, b"\xff\xfe", b"<<<<<<< HEAD", b"[1, 2", b"{}"])
def test_junk_at_the_end_is_removed_by_the_next_append(tmp_path: Path, junk: bytes) -> None:
    file = tmp_path / "rows.jsonl"
    store = Store(file)
    store.append(row("a"))
    with file.open("ab") as handle:
        handle.write(junk)
    store.append(row("b"))
    assert names(store.rows()) == ["a", "b"]
    assert file.read_bytes().count(b"\n") == 2


def test_junk_alone_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"sae":')
    Store(file).append(row("a"))
    assert names(read_rows(file)) == ["a"]


def test_long_lines_are_mended(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    store = Store(file)
    store.append(row("a"))
    big = Row(sae="s", metric="big", signature="big", sums={"x": np.zeros(50_000)})
    store.append(big)
    file.write_bytes(file.read_bytes()[:-100])
    store.append(row("b"))
    assert names(store.rows()) == ["a", "b"]


WRITER = """
import sys
import numpy as np
from saebench.results import Row, Store
store = Store(sys.argv[1])
for i in range(60):
    store.append(Row(sae=sys.argv[2], metric=f"m{i}", signature=f"{sys.argv[2]}{i}", sums={"x": np.ones(500)}))
"""


def test_two_processes_append_to_one_file(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], env=environment) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = read_rows(tmp_path)
    assert len(rows) == 120
    for name in "ab":
        assert [r.metric for r in rows if r.sae == name] == [f"m{i}" for i in range(60)]


def test_a_folder_that_cannot_be_written_is_said_before_work(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="Cannot write results"):
        Store(blocked / "run")
    with pytest.raises(UserError, match="Cannot write results"):
        check_writable("/proc/nothing" if sys.platform == "linux" else blocked)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="Permission denied"):
            Store(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_opening_a_store_leaves_nothing_behind(tmp_path: Path) -> None:
    Store(tmp_path)
    assert not list(tmp_path.iterdir())
    assert Store(tmp_path).rows() == []


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.append(row("a"))
    before = store.file.read_bytes()
    write = os.write

    def half(descriptor: int, data: Any) -> int:
        if len(data) < 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, bytes(data[: len(data) // 2]))

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(UserError, match="No space left"):
        store.append(row("b"))
    monkeypatch.undo()
    assert store.file.read_bytes() == before


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda d, data: write(d, bytes(data[:7])))
    store.append([row("a"), row("b")])
    monkeypatch.undo()
    assert names(store.rows()) == ["a", "b"]


def test_the_last_row_of_a_measurement_wins() -> None:
    rows = latest([row("a"), row("b"), row("a", reason="again")])
    assert [(r.metric, r.reason) for r in rows] == [("a", "again"), ("b", "")]


def test_a_failed_cell_gives_way_to_its_slices(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(row("a", status="error", reason="out of memory"))
    assert store.finished() == {}
    store.append([row("a", slice="k=1", slices_total=2), row("a", slice="k=2", slices_total=2)])
    assert [(r.slice, r.status) for r in store.rows()] == [("k=1", "ok"), ("k=2", "ok")]
    assert list(store.finished()) == ["a"]


def test_a_cell_is_finished_when_all_its_slices_are_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([row("a", slice="k=1", slices_total=2), row("b"), row("c", status="not_applicable")])
    store.append(row("d", status="error"))
    assert sorted(store.finished()) == ["b", "c"]
    store.append(row("a", slice="k=2", slices_total=2))
    assert sorted(store.finished()) == ["a", "b", "c"]


def test_a_folder_is_read_as_a_whole(tmp_path: Path) -> None:
    Store(tmp_path / "x" / "one.jsonl").append(row("a"))
    Store(tmp_path / "y").append(row("b"))
    (tmp_path / "notes.txt").write_text("not rows")
    assert names(read_rows(tmp_path)) == ["a", "b"]


def test_no_results_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results at"):
        Results.load(tmp_path / "nowhere")


def test_windows_line_ends_and_blank_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\r\n".join([row("a").to_json().encode(), b"", row("b").to_json().encode()]) + b"\r\n")
    assert names(read_rows(file)) == ["a", "b"]

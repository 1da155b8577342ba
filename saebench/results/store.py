"""Results on disk: one JSON line a row, appended so that a kill at any instant loses no finished row."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from saebench.errors import UserError
from saebench.results.row import Row

ROWS_FILE = "rows.jsonl"
FINISHED = ("ok", "not_applicable")


class Store:
    """An append-only file of rows; several processes may append to one file.

    Args:
        path: A `.jsonl` file, or a run folder, whose file is `rows.jsonl` and which is read as a
            whole (`**/*.jsonl`).

    Raises:
        UserError: The folder cannot be made or written to; raised here, before any work is done.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.file = self.path if self.path.suffix == ".jsonl" else self.path / ROWS_FILE
        check_writable(self.file.parent)

    def append(self, rows: Row | Iterable[Row]) -> None:
        """Append rows in one write and wait until they are on disk.

        The slices of one cell belong in one call. The rest of a line that an earlier kill cut is
        removed first.

        Raises:
            UserError: The disk is full or the file cannot be written; the file is left as it was.
        """
        rows = [rows] if isinstance(rows, Row) else list(rows)
        if rows:
            append_lines(self.file, [row.to_json() for row in rows])

    def rows(self) -> list[Row]:
        """All rows of the store, the latest of each measurement."""
        return read_rows(self.path) if self.path.exists() else []

    def finished(self, statuses: Iterable[str] = FINISHED) -> dict[str, list[Row]]:
        """Rows by signature of the cells that need not run again: all slices there, none failed or left unanswered."""
        cells: dict[str, list[Row]] = {}
        for row in self.rows():
            cells.setdefault(row.key[0], []).append(row)
        allowed = set(statuses)
        return {
            signature: cell
            for signature, cell in cells.items()
            if len(cell) == cell[0].slices_total and all(row.status in allowed and not row.unanswered for row in cell)
        }


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make the folder, and prove that a file can be written in it.

    Raises:
        UserError: It cannot.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".saebench-"):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"Cannot write results to {str(folder)!r}: {reason}. Give another folder (--out) or mend this one."
        ) from error


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines under a lock, in one write, and wait until they are on disk."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8")
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise UserError(f"Cannot write results to {str(path)!r}: {error.strerror}.") from error
    try:
        with _locked(descriptor, exclusive=True):
            end = _mend(descriptor)
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError as error:
                os.ftruncate(descriptor, end)
                raise UserError(f"Cannot write results to {str(path)!r}: {error.strerror}.") from error
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _mend(descriptor: int) -> int:
    """Remove a line that was cut, or end one that lacks only its line feed; the file's size after it."""
    size = os.fstat(descriptor).st_size
    start, tail = size, b""
    while start > 0 and b"\n" not in tail:
        step = min(start, 1 << 16)
        start -= step
        os.lseek(descriptor, start, os.SEEK_SET)
        tail = _read_exactly(descriptor, step) + tail
    cut = tail[tail.rfind(b"\n") + 1 :]
    if not cut:
        return size
    if _parse(cut) is not None:
        _write_all(descriptor, b"\n")
        return size + 1
    os.ftruncate(descriptor, size - len(cut))
    return size - len(cut)


def _read_exactly(descriptor: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count > 0 and (part := os.read(descriptor, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _parse(line: bytes) -> Row | None:
    try:
        return Row.from_json(line.decode("utf-8"))
    except ValueError:
        return None


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """The rows of a `.jsonl` file, or of all of them under a folder, the latest of each measurement.

    Lines that are not whole rows are skipped, with one warning a file.

    Raises:
        UserError: There is nothing at this path, or a row comes from a later version of saebench.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There are no results at {str(path)!r}. Give a run folder or a .jsonl file.")
    files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    return latest(row for file in files for row in _read_file(file))


def _read_file(path: Path) -> list[Row]:
    with path.open("rb") as handle, _locked(handle.fileno(), exclusive=False):
        data = handle.read()
    rows: list[Row] = []
    skipped: list[int] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        row = _parse(line)
        if row is None:
            skipped.append(number)
        else:
            rows.append(row)
    if skipped:
        shown = ", ".join(map(str, skipped[:5])) + (" ..." if len(skipped) > 5 else "")
        warnings.warn(f"{path}: skipped {len(skipped)} line(s) that are not whole rows (line {shown}).", stacklevel=3)
    return rows


def latest(rows: Iterable[Row]) -> list[Row]:
    """The latest row of each (signature, slice), in the order of first appearance.

    A cell that failed as a whole gives way to any later row of its signature, and rows that count
    another number of slices give way to the later ones.
    """
    cells: dict[str, dict[str, Row]] = {}
    for row in rows:
        signature, name = row.key
        cell = cells.setdefault(signature, {})
        for other in [*cell.values()]:
            failed = other.status == "error" and other.slice == ""
            if other.slices_total != row.slices_total or failed:
                del cell[other.slice]
        cell[name] = row
    return [row for cell in cells.values() for row in cell.values()]


@contextlib.contextmanager
def _locked(descriptor: int, *, exclusive: bool) -> Iterator[None]:
    """Hold the advisory lock of an open file; file systems without locks go without."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    held = False
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        held = True
    try:
        yield
    finally:
        if held:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

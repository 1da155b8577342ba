"""Discovery of metrics: entry points (the built-in ones come through the same door) and `--include` paths."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from saebench.errors import PluginWarning, UserError, unknown
from saebench.metric import Metric

GROUP = "saebench.metrics"

_included: dict[str, Metric] = {}


def metrics() -> dict[str, Metric]:
    """All known metrics by name, the included ones last."""
    return {**_installed(), **_included}


def shipped() -> dict[str, Metric]:
    """The metrics that come with saebench, without plug-ins and included files."""
    points = [p for p in importlib.metadata.entry_points(group=GROUP) if p.value.startswith("saebench.")]
    return {name: metric for point in points for name, metric in _of_entry_point(point).items()}


def get(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UserError: No such metric; the nearest name is offered.
    """
    known = metrics()
    if name not in known:
        raise unknown("metric", name, known)
    return known[name]


def include(what: str | Path | Metric) -> list[str]:
    """Make metrics known that no package brings: one defined here and now, a Python file, or a folder of files.

    Returns:
        Names of the metrics found.

    Raises:
        UserError: The path does not exist, a file cannot be imported, or it defines no metric; or a built-in
            metric has the name.
    """
    found = {what.name: what} if isinstance(what, Metric) else _metrics_at(Path(what))
    origin = "The session" if isinstance(what, Metric) else repr(str(what))
    for name, metric in found.items():
        if name in _installed():
            raise UserError(f"{origin} defines {name!r}, which is a built-in metric: give yours another name.")
        _included[name] = metric
    return list(found)


def _metrics_at(place: Path) -> dict[str, Metric]:
    if not place.exists():
        raise UserError(f"Nothing to include at {str(place)!r}: give a Python file or a folder of them.")
    files = sorted(place.glob("*.py")) if place.is_dir() else [place]
    found: dict[str, Metric] = {}
    for file in files:
        found.update(_metrics_of(_load_file(file)))
    if not found:
        raise UserError(f"{str(place)!r} defines no metric: decorate a function with @saebench.metric(...).")
    return found


@functools.cache
def _installed() -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    points = sorted(
        importlib.metadata.entry_points(group=GROUP), key=lambda p: (not p.value.startswith("saebench."), p.name)
    )
    if not points:
        raise UserError("No metrics are installed: run `pip install -e .` in the saebench checkout.")
    for point in points:
        for name, metric in _of_entry_point(point).items():
            if name in found:
                message = f"Plug-in {point.name!r} defines metric {name!r}, which exists already; the first is kept."
                warnings.warn(message, PluginWarning, stacklevel=2)
            else:
                found[name] = metric
    return found


def _of_entry_point(point: importlib.metadata.EntryPoint) -> dict[str, Metric]:
    try:
        loaded = point.load()
        if isinstance(loaded, Metric):
            return {loaded.name: loaded}
        return _metrics_of(loaded)
    # A third party's import may fail in any way at all, and must not stop everyone else's run.
    except Exception as error:  # noqa: BLE001
        message = f"Plug-in {point.name!r} ({point.value}) could not be loaded and is left out: {error!r}"
        warnings.warn(message, PluginWarning, stacklevel=2)
        return {}


def _metrics_of(module: ModuleType) -> dict[str, Metric]:
    """Metrics defined in a module, and in the modules of a package."""
    modules: Iterable[ModuleType] = [module]
    if hasattr(module, "__path__"):
        names = [info.name for info in pkgutil.iter_modules(module.__path__)]
        modules = [module, *(importlib.import_module(f"{module.__name__}.{name}") for name in names)]
    return {value.name: value for part in modules for value in vars(part).values() if isinstance(value, Metric)}


def _load_file(file: Path) -> ModuleType:
    name = f"saebench_included_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{str(file)!r} is not a Python file: --include takes .py files or a folder of them.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{str(file)!r} could not be imported: {type(error).__name__}: {error}") from error
    return module

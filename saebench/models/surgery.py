"""Temporary changes to a module tree: hooks, replaced modules and early exit, all undone on leaving."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()

S = TypeVar("S", bound=nn.Module)


class Point(NamedTuple):
    """A tensor in a model: the first tensor that goes into ("in") or comes out of ("out") a module."""

    path: str
    side: str


class Stop(Exception):
    """Ends a forward pass early; nothing more is wanted from it."""


class Swap(nn.Module):
    """Base of stand-ins for a module; other attributes are the original's."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__["_original"] = original
        self.training = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_original"], name)


class Skip(Swap):
    """A layer that is skipped: it returns its input, in the layer's output format."""

    def __init__(self, original: nn.Module, arity: int) -> None:
        super().__init__(original)
        self._arity = arity

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return _pack(first_tensor(args, kwargs), self._arity)


class Fixed(Swap):
    """A module whose output is given instead of computed."""

    def __init__(self, original: nn.Module, arity: int, value: Tensor) -> None:
        super().__init__(original)
        self._arity, self._value = arity, value
        self.fired = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.fired += 1
        given = first_tensor(args, kwargs)  # of another shape in OPT, and on another device in a sharded model
        return _pack(self._value.to(given.device).reshape(*given.shape[:-1], -1).clone(), self._arity)


class Surgery:
    """Changes to one model that are undone together; made by `operate`."""

    def __init__(self, model: nn.Module, undo: ExitStack) -> None:
        self.model = model
        self._undo = undo

    def swap(self, path: str, stand_in: Callable[[nn.Module], S]) -> S:
        """Put a stand-in in the place of the module at `path` and return it."""
        parent, _, name = path.rpartition(".")
        children = self.model.get_submodule(parent)._modules
        original = children[name]
        assert original is not None
        self._undo.callback(children.__setitem__, name, original)
        children[name] = new = stand_in(original)
        return new

    def patch(self, module: nn.Module, name: str, value: Any) -> None:
        """Give one object another method for a while, if its class has one of that name."""
        if hasattr(type(module), name) and name not in module.__dict__:
            module.__dict__[name] = value
            self._undo.callback(module.__dict__.pop, name, None)

    def read(self, point: Point, see: Callable[[Tensor], None], arity: dict[str, int] | None = None) -> None:
        """Call `see` with the tensor at a point; note in `arity` how the module packs its output."""
        if point.side == "in":
            self._before(point, lambda tensor: see(tensor))
        else:
            self._after(point, lambda tensor: see(tensor), arity)

    def write(self, point: Point, value: Tensor) -> Callable[[], int]:
        """Replace the tensor at a point, and return a function that tells how often it was replaced."""
        return self.edit(point, lambda tensor: value.to(tensor.device).reshape(tensor.shape).clone())

    def edit(self, point: Point, change: Callable[[Tensor], Tensor]) -> Callable[[], int]:
        """Change the tensor at a point, and return a function that tells how often it was changed."""
        fired: list[int] = []

        def replace(tensor: Tensor) -> Tensor:
            fired.append(1)
            return change(tensor)

        (self._before if point.side == "in" else self._after)(point, replace)
        return lambda: len(fired)

    def observe(self, path: str, see: Callable[[Any, Any, Any], None]) -> None:
        """Call `see` with the arguments, by position and by name, and the output of a module."""
        module = self.model.get_submodule(path)
        handle = module.register_forward_hook(lambda _, *seen: see(*seen), with_kwargs=True)
        self._undo.callback(handle.remove)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model; an early exit returns None."""
        try:
            return self.model(*args, **kwargs)
        except Stop:
            return None

    def _before(self, point: Point, edit: Callable[[Tensor], Tensor | None]) -> None:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            new = edit(first_tensor(args, kwargs))
            if new is None:
                return None
            if args and isinstance(args[0], Tensor):
                return (new, *args[1:]), kwargs
            return args, {**kwargs, _first_key(kwargs): new}

        module = self.model.get_submodule(point.path)
        self._undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def _after(
        self, point: Point, edit: Callable[[Tensor], Tensor | None], arity: dict[str, int] | None = None
    ) -> None:
        def hook(_: nn.Module, args: Any, output: Any) -> Any:
            if arity is not None:
                size = len(output) if isinstance(output, (tuple, list)) else 0
                arity[point.path] = -size if isinstance(output, list) else size
            new = edit(unpacked(output))
            if new is None or not isinstance(output, (tuple, list)):
                return new
            return type(output)([new, *output[1:]]) if type(output) in (tuple, list) else (new, *output[1:])

        module = self.model.get_submodule(point.path)
        self._undo.callback(module.register_forward_hook(hook).remove)


@contextmanager
def operate(model: nn.Module, *, grad: bool = False) -> Iterator[Surgery]:
    """Change a model for a while: one thread at a time, gradients and autocast off, in evaluation mode.

    On leaving, also by an exception, every hook is removed, every module is back in its place, and
    modules that were training train again.

    Args:
        grad: Let gradients flow through the model to what is put into it; its weights are frozen meanwhile.
    """
    with _LOCKS_GUARD:
        lock = _LOCKS.setdefault(model, threading.RLock())
    with lock, torch.set_grad_enabled(grad), ExitStack() as undo:
        if grad:
            trainable = [p for p in model.parameters() if p.requires_grad]
            undo.callback(_set_trainable, trainable, True)
            _set_trainable(trainable, False)
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                undo.enter_context(torch.autocast(kind, enabled=False))
        training = [module for module in model.modules() if module.training]
        undo.callback(_set_training, training, True)
        _set_training(training, False)
        yield Surgery(model, undo)


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The activation a module is called with: its first argument, by position or by name."""
    return args[0] if args and isinstance(args[0], Tensor) else kwargs[_first_key(kwargs)]


def _first_key(kwargs: dict[str, Any]) -> str:
    if isinstance(kwargs.get("hidden_states"), Tensor):
        return "hidden_states"
    return next(key for key, value in kwargs.items() if isinstance(value, Tensor))


def unpacked(output: Any) -> Any:
    """The activation in a module's output: a tensor, a tuple's first, or the last hidden state."""
    if isinstance(output, Tensor) or output is None:
        return output
    return output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]


def _pack(value: Tensor, arity: int) -> Any:
    """A module's output: bare for arity 0, else first of a tuple, or of a list where the arity is negative."""
    if arity == 0:
        return value
    packed = [value, *[None] * (abs(arity) - 1)]
    return packed if arity < 0 else tuple(packed)


def _set_trainable(parameters: list[nn.Parameter], trainable: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(trainable)


def _set_training(modules: list[nn.Module], mode: bool) -> None:
    for module in modules:
        module.training = mode

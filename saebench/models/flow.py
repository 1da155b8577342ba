"""How activations flow through a block, found by watching one pass: which norms stand around its branches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from saebench.models.anatomy import Block
from saebench.models.surgery import Point, Surgery, unpacked

PARALLEL = "its blocks run attention and MLP in parallel, so no residual lies between them"
UNKNOWN = "no part of its blocks is known by a name for it"


@dataclass
class Trace:
    """What went into and came out of the parts of one block, in the order in which they ended.

    Attributes:
        block: The block.
        parts: Path, first tensor in and first tensor out of each part; None where there is no tensor.
    """

    block: Block
    parts: list[tuple[str, Tensor | None, Tensor | None]] = field(default_factory=list)

    def watch(self, op: Surgery, inside: bool) -> None:
        """Note what passes through the block, and through its parts if these are wanted, while the model runs."""
        named = (self.block.mixed, self.block.mlp_in, self.block.neurons, self.block.mlp_out)
        ends = {p.path for p in named if p is not None}
        parts = [*ends, *self._children(op.model)] if inside else []
        for path in dict.fromkeys([self.block.path, *parts]):
            op.observe(path, lambda args, kwargs, output, path=path: self._note(path, args, kwargs, output))

    def _note(self, path: str, args: Any, kwargs: Any, output: Any) -> None:
        tensors = [x for x in (*args[:1], kwargs.get("hidden_states"), *kwargs.values()) if isinstance(x, Tensor)]
        self.parts.append((path, _copy(tensors[0] if tensors else None), _copy(unpacked(output))))

    def _children(self, model: nn.Module) -> Iterator[str]:
        """Parts of the block; of one that holds a branch among others, its own parts instead of it."""
        branches = [p for p in (self.block.mixer, self.block.mlp) if p]
        bridged = f"{self.block.path}._original_component"
        wrapped = any(branch.startswith(f"{bridged}.") for branch in branches)
        waiting = [root := bridged if wrapped else self.block.path]
        while waiting:
            path = waiting.pop()
            if path == root or any(branch.startswith(f"{path}.") for branch in branches):
                waiting += [f"{path}.{name}" for name, _ in model.get_submodule(path).named_children()]
            else:
                yield path

    def at(self, point: Point | None) -> Tensor | None:
        """The tensor at a point, if it was seen."""
        found = [part for part in self.parts if point is not None and part[0] == point.path]
        return (found[0][1] if point is not None and point.side == "in" else found[0][2]) if found else None

    def refined(self) -> Block:
        """The block with the norms around its branches: before and after them."""
        mixed, mlp_out = self._behind(self.block.mixed), self._behind(self.block.mlp_out)
        norm = self._before(self.block.mlp_in)
        mid = Point(norm, "in") if norm else self.block.mlp_in
        entered = self.at(self.block.mlp_in)
        if entered is None or (norm is not None and norm in (self.block.mixer, mixed and mixed.path)):
            norm, mid = None, None  # the MLP reads the branch before it, or nothing
        own = self._before(self.block.attn_in)
        return replace(self.block, attn_norm=own, mixed=mixed, mlp_out=mlp_out, norm=norm, mid=mid)

    def _before(self, point: Point | None) -> str | None:
        """The last part whose output goes into a branch and is not what went into the part: the branch's norm."""
        entered, norm = self.at(point), None
        for path, given, made in self.parts:
            if point is None or path == point.path:
                break
            if _same(made, entered) and not _same(given, made):
                norm = path
        return norm

    def _behind(self, point: Point | None) -> Point | None:
        """The last part that does nothing but change a branch's output before it is added."""
        value, last = self.at(point), point
        started = False
        for path, given, made in self.parts:
            started = started or (point is not None and path == point.path)
            inside = path in (self.block.path, self.block.mlp_in.path if self.block.mlp_in else "")
            if started and not inside and _same(given, value) and made is not None and not _same(made, given):
                value, last = made, Point(path, "out")
        return last

    def reasons(self, block: Block) -> dict[str, str | None]:
        """Why a branch's output is not what it adds to the residual, up to a constant factor; None where it is.

        Args:
            block: The refined block.
        """
        pre, mid, post = (self.at(p) for p in (block.resid_pre, block.mid, block.resid_post))
        mixed, mlp = self.at(block.mixed), self.at(block.mlp_out)
        never = "a part of its blocks is there, but never runs"
        found: dict[str, str | None] = {
            "mixed": UNKNOWN if block.mixed is None else never if mixed is None else None,
            "mlp_out": UNKNOWN if block.mlp_out is None else never if mlp is None else None,
        }
        found["neurons"] = self._no_neurons()
        if pre is None or post is None:
            return dict.fromkeys(found, never)
        plain = "its blocks do not simply add {} to the residual"
        if mid is None or _same(mid, pre):
            known = [x for x in (mixed, mlp) if x is not None]
            fine = bool(known) and _adds(pre, known, post)
            one = "only one of its branches is known by name, and its blocks do more than add it"
            reason = None if fine else plain.format("attention and MLP") if len(known) == 2 else one
            return {k: v if k == "neurons" else v or reason for k, v in found.items()}
        if mixed is not None and not _adds(pre, [mixed], mid):
            found["mixed"] = plain.format("attention")
        if mlp is not None and not _adds(mid, [mlp], post):
            found["mlp_out"] = plain.format("the MLP")
        return found

    def _no_neurons(self) -> str | None:
        """Why the MLP's output is not that of one last layer, or None if it is."""
        last = self.block.neurons and self.at(Point(self.block.neurons.path, "out"))
        if last is None:
            return "its MLP has no one last layer that is known by name" if self.block.mlp_in else UNKNOWN
        return None if _same(last, self.at(self.block.mlp_out)) else "its MLP does more after its last layer of neurons"


def stream_broken(blocks: list[Trace], shape: list[int]) -> str | None:
    """Why what passes between a model's blocks is not one residual stream, or None if it is.

    Args:
        blocks: Traces of all blocks, in order; those that never ran are passed over.
        shape: What the stream must be, `[batch, length, width]`.
    """
    ends = [(trace.at(trace.block.resid_pre), trace.at(trace.block.resid_post)) for trace in blocks]
    ran = [(before, after) for before, after in ends if before is not None and after is not None]
    if not ran:
        return "its blocks do not run on text alone"
    odd = next((list(x.shape) for pair in ran for x in pair if list(x.shape) != shape), None)
    if odd is not None:
        return f"its blocks pass on {odd}, where one residual stream {shape} is expected"
    joints = [_same(left[1], right[0]) for left, right in zip(ran, ran[1:], strict=False)]
    if joints and not any(joints):
        return "what leaves one of its blocks is not what enters the next, so there is no residual stream between them"
    return None


def traced(block: Block, model: Block, trace: Block) -> Block:
    """What was found of one block, told of another of the same build."""

    def moved(found: Any) -> Any:
        if isinstance(found, Point):
            return Point(moved(found.path), found.side)
        return block.path + found[len(model.path) :] if isinstance(found, str) else found

    parts = ("attn_norm", "mixed", "mlp_out", "mid", "norm")
    return replace(block, **{part: moved(getattr(trace, part)) for part in parts})


def _copy(value: Any) -> Tensor | None:
    return value.detach().clone() if isinstance(value, Tensor) and value.is_floating_point() else None


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None or a.numel() != b.numel() or a.dtype != b.dtype:
        return False
    return torch.equal(a.reshape(-1), b.reshape(-1).to(a.device))


def _adds(before: Tensor, parts: list[Tensor], after: Tensor) -> bool:
    """Whether `after` is `before` plus the parts, each times a constant, up to rounding."""
    if any(part.numel() != before.numel() for part in [after, *parts]):
        return False
    start, end, *rest = (x.reshape(-1).cpu().double() for x in (before, after, *parts))
    scale = (start.abs() + end.abs() + sum(x.abs() for x in rest)).clamp_min(1e-30)
    weights = torch.stack(rest, dim=1) / scale[:, None]
    target = (end - start) / scale
    error = target - weights @ torch.linalg.lstsq(weights, target[:, None]).solution[:, 0]
    return float(error.abs().max()) <= 8 * torch.finfo(before.dtype).eps

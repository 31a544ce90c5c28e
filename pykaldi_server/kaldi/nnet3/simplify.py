"""Simplifies a graph: fewer values for the same result.

* A value that only passes another one on is replaced by it, and one that passes several parts to a single
  reader is merged into the reader's parts;
* a value with a single reader at the same index takes over the reader's kernels (affine, rectifier and batch
  normalisation become one step);
* rectifiers, scales and offsets after an affine kernel become part of it;
* scales and offsets are multiplied into the affine kernel before or after them, and consecutive affine
  kernels into one if that saves work;
* an affine kernel in a recurrence is split, so that its part for rows from outside the recurrence is computed
  for all frames at once instead of step by step.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pykaldi_server.kaldi.nnet3.components import Kernel
from pykaldi_server.kaldi.nnet3.components.affine import Affine, require_finite_kernels
from pykaldi_server.kaldi.nnet3.components.base import Array
from pykaldi_server.kaldi.nnet3.components.elementwise import Diagonal, Rectifier
from pykaldi_server.kaldi.nnet3.graph import (
    InputValue,
    RowValue,
    Value,
    WindowValue,
    sources_of,
    strongly_connected,
)
from pykaldi_server.kaldi.nnet3.parts import Constant, Leaf, SumOf, leaves_of, map_leaves, part_dim

__all__ = ["fuse_kernels", "join_kernels", "simplify", "simplify_kernels"]


def simplify(values: dict[int, Value], output: int) -> dict[int, Value]:
    """Returns fewer values that compute the same output; their kernels are those that there were.

    Args:
        values: values by number; may be modified.
        output: number of the value that is the output; it keeps its number.
    """
    _simplify_structure(values, output)
    if _split_recurrent_affines(values, output):
        _simplify_structure(values, output)
    return dict(sorted(values.items()))


def simplify_kernels(values: dict[int, Value]) -> dict[int, Value]:
    """Returns the same values with fewer kernels.

    Raises:
        ValueError: the parameters of joined kernels are not finite.
    """
    return {number: _with_fewer_kernels(value) for number, value in values.items()}


def _with_fewer_kernels(value: Value) -> Value:
    if isinstance(value, InputValue):
        return value
    kernels = join_kernels(value.kernels)
    joined = [kernel for kernel in kernels if kernel not in value.kernels]
    require_finite_kernels(joined, f"node {value.name}, with the nodes joined to it")
    return replace(value, kernels=fuse_kernels(kernels))


def _simplify_structure(values: dict[int, Value], output: int) -> None:
    changed = True
    while changed:
        changed = False
        for step in (_skip_passing_values, _inline_gathered_parts, _join_chains):
            changed |= step(values, output)
        for unread in values.keys() - _reachable(values, output):
            del values[unread]


def _reachable(values: dict[int, Value], output: int) -> list[int]:
    found, todo = {output}, [output]
    while todo:
        for source in sources_of(values[todo.pop()]):
            if source not in found:
                found.add(source)
                todo.append(source)
    return sorted(found)


def _reader_counts(values: dict[int, Value], output: int) -> Counter[int]:
    counts = Counter([output])
    for number in _reachable(values, output):
        counts.update(sources_of(values[number]))
    return counts


def _skip_passing_values(values: dict[int, Value], output: int) -> bool:
    """Redirects the readers of a value that equals another one (or a constant) to that."""
    changed = False
    for number, value in list(values.items()):
        if not isinstance(value, RowValue) or value.kernels or len(value.parts) != 1 or number == output:
            continue
        (part,) = value.parts
        if isinstance(part, Leaf) and part.plain and part.source != number:
            changed |= _replace_source(values, number, part, values[part.source].dim)
        elif isinstance(part, Constant):
            changed |= _replace_by_constant(values, number, part.value)
    return changed


def _replace_source(values: dict[int, Value], number: int, by: Leaf, source_dim: int) -> bool:
    changed = False

    def change(leaf: Leaf) -> Leaf:
        if leaf.source != number:
            return leaf
        return replace(leaf, source=by.source, column=by.column + leaf.column)

    for reader, value in values.items():
        if number not in sources_of(value):
            continue
        if isinstance(value, RowValue):
            values[reader] = replace(value, parts=tuple(map_leaves(part, change) for part in value.parts))
            changed = True
        elif isinstance(value, WindowValue) and by.column == 0 and by.dim == source_dim:
            values[reader] = replace(value, source=by.source)
            changed = True
    return changed


def _replace_by_constant(values: dict[int, Value], number: int, constant: float) -> bool:
    changed = False
    for reader, value in values.items():
        if not isinstance(value, RowValue):
            continue
        reads = [isinstance(part, Leaf) and part.source == number for part in value.parts]
        if any(reads):
            parts = tuple(
                Constant(part.scale * constant, part.dim) if isinstance(part, Leaf) and is_read else part
                for part, is_read in zip(value.parts, reads, strict=True)
            )
            values[reader] = replace(value, parts=parts)
            changed = True
    return changed


def _inline_gathered_parts(values: dict[int, Value], output: int) -> bool:
    """Merges the parts of a value without kernels into those of its only reader."""
    counts = _reader_counts(values, output)
    for number, value in list(values.items()):
        if not isinstance(value, RowValue):
            continue
        for position, part in enumerate(value.parts):
            if not isinstance(part, Leaf) or not part.plain or counts[part.source] != 1:
                continue
            source = values[part.source]
            if isinstance(source, RowValue) and not source.kernels and part.dim == source.dim:
                parts = (*value.parts[:position], *source.parts, *value.parts[position + 1 :])
                values[number] = replace(value, parts=parts)
                return True
    return False


def _join_chains(values: dict[int, Value], output: int) -> bool:
    """Moves the kernels of a value's only reader to the value, if the reader reads nothing else."""
    counts = _reader_counts(values, output)
    changed = False
    for number in _reachable(values, output):
        value = values[number]
        if not isinstance(value, RowValue) or len(value.parts) != 1:
            continue
        (part,) = value.parts
        if not isinstance(part, Leaf) or not part.plain or counts[part.source] != 1 or part.source == number:
            continue
        source = values[part.source]
        if isinstance(source, InputValue) or part.dim != source.dim:
            continue
        values[number] = replace(source, dim=value.dim, kernels=source.kernels + value.kernels)
        values[part.source] = RowValue(source.name, source.dim, (Constant(0.0, source.dim),), ())
        changed = True
    return changed


def _split_recurrent_affines(values: dict[int, Value], output: int) -> bool:
    """Moves the columns of affine kernels that read rows from outside a recurrence out of it."""
    changed = False
    reachable = {number: values[number] for number in _reachable(values, output)}
    for component in strongly_connected(reachable):
        members = set(component)
        for number in component:
            value = values[number]
            if not isinstance(value, RowValue) or not isinstance(next(iter(value.kernels), None), Affine):
                continue
            inside = [not members.isdisjoint(leaf.source for leaf in leaves_of(part)) for part in value.parts]
            if any(inside) and not all(inside):
                _split_affine(values, number, value, inside)
                changed = True
    return changed


def _split_affine(values: dict[int, Value], number: int, value: RowValue, inside: list[bool]) -> None:
    affine = value.kernels[0]
    assert isinstance(affine, Affine)
    ends = np.cumsum([part_dim(part) for part in value.parts])
    blocks = np.split(affine.weight, ends[:-1], axis=1)
    terms = []
    for is_inside in (True, False):
        chosen = [place for place, flag in enumerate(inside) if flag == is_inside]
        weight = np.hstack([blocks[place] for place in chosen])
        term = max(values) + 1
        values[term] = RowValue(
            f"{value.name}/{'inside' if is_inside else 'outside'}",
            affine.output_dim,
            tuple(value.parts[place] for place in chosen),
            (Affine(weight, None if is_inside else affine.bias),),
        )
        terms.append(Leaf(term, 0, affine.output_dim))
    values[number] = replace(value, parts=(SumOf(tuple(terms)),), kernels=value.kernels[1:])


def join_kernels(kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """Joins neighbouring affine and diagonal kernels if that saves work."""
    joined: list[Kernel] = []
    for kernel in kernels:
        match joined[-2:], kernel:
            case [Affine() as affine, Rectifier()], Diagonal(scale=scale) if _is_positive(scale):
                # A positive factor has the same effect before the rectifier.
                joined[-2] = affine.scaled_after(scale, None)
                if kernel.offset is not None:
                    joined.append(Diagonal(None, kernel.offset))
            case [*_, previous], _ if (both := _joined(previous, kernel)) is not None:
                joined[-1] = both
            case _:
                joined.append(kernel)
    return tuple(joined)


def fuse_kernels(kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """Makes a rectifier, and a scale and an offset, part of the affine kernel before them."""
    fused: list[Kernel] = []
    for kernel in kernels:
        match fused[-1:], kernel:
            case [Affine(rectify=False, scale=None, offset=None) as affine], Rectifier():
                fused[-1] = Affine(affine.weight, affine.bias, rectify=True)
            case [Affine(scale=None, offset=None) as affine], Diagonal():
                fused[-1] = Affine(affine.weight, affine.bias, affine.rectify, kernel.scale, kernel.offset)
            case _:
                fused.append(kernel)
    return tuple(fused)


def _joined(first: Kernel, second: Kernel) -> Kernel | None:
    match first, second:
        case Diagonal(), Diagonal():
            return second.after(first)
        case Affine(), Diagonal():
            return first.scaled_after(second.scale, second.offset)
        case Diagonal(), Affine():
            return second.scaled_before(first.scale, first.offset)
        case Affine(), Affine():
            if first.input_dim * second.output_dim <= first.weight.size + second.weight.size:
                return second.after(first)
    return None


def _is_positive(scale: Array | None) -> bool:
    return scale is not None and bool((scale > 0).all())

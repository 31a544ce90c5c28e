"""What Kaldi does to a network before looped computation, where it affects the result.

CollapseModel (``nnet3/nnet-utils.cc``) with its default options merges an affine component into the affine
component (or fixed scale) that reads it, through any Append of Offsets, unless the first one reduces the
dimension. Apart from rounding, this affects the result only through the next step.

ModifyNnetIvectorPeriod (``nnet3/nnet-compile-looped.cc``) replaces the first ``ReplaceIndex(..., t, 0)`` in
the input of each component node by ``Round(..., period)``, so that the network sees the newest i-vector. A
node that has several of them after collapsing keeps time 0, that is, the first i-vector, in the others.
"""

from dataclasses import replace

import numpy as np

from pykaldi_server.kaldi.nnet3.components import Component
from pykaldi_server.kaldi.nnet3.components.affine import Affine, affine_component, require_finite_kernels
from pykaldi_server.kaldi.nnet3.components.elementwise import Diagonal
from pykaldi_server.kaldi.nnet3.descriptor import (
    Append,
    Descriptor,
    NodeRef,
    Offset,
    ReplaceIndex,
    Round,
    append_terms,
    children,
    with_children,
)
from pykaldi_server.kaldi.nnet3.nnet import ComponentNode, Nnet, Node

__all__ = ["collapse_model", "round_ivector_times"]

_AFFINE = ("AffineComponent", "NaturalGradientAffineComponent")
_MAX_ROUNDS = 10


def collapse_model(nnet: Nnet) -> Nnet:
    """Merges components as CollapseModel does; nodes that are no longer read remain.

    Raises:
        ValueError: the parameters of merged components are not finite.
    """
    nodes: dict[str, Node] = dict(nnet.nodes)
    components = dict(nnet.components)
    for _ in range(_MAX_ROUNDS):
        changed = False
        for node in list(nodes.values()):
            if isinstance(node, ComponentNode):
                changed |= _merge_input(node, nodes, components)
        if not changed:
            break
    return replace(nnet, nodes=nodes, components=components)


def _merge_input(node: ComponentNode, nodes: dict[str, Node], components: dict[str, Component]) -> bool:
    terms = append_terms(node.input)
    sources = {_shifted_node(term) for term in terms}
    source = nodes.get(sources.pop() or "") if len(sources) == 1 else None
    if not isinstance(source, ComponentNode) or source.name == node.name:
        return False
    name = f"{source.component}.{node.component}"
    merged = _merged(components[source.component], components[node.component], len(terms))
    if merged is None:
        return False
    require_finite_kernels(merged.kernels, f"the merged components {name}")
    components.setdefault(name, merged)
    parts = tuple(_substitute(term, source.input) for term in terms)
    nodes[node.name] = replace(node, component=name, input=parts[0] if len(parts) == 1 else Append(parts))
    return True


def _shifted_node(term: Descriptor) -> str | None:
    """Returns the node that a term reads at a constant offset; None for any other expression."""
    if isinstance(term, Offset):
        term = term.source
    return term.name if isinstance(term, NodeRef) else None


def _substitute(term: Descriptor, source: Descriptor) -> Descriptor:
    return replace(term, source=source) if isinstance(term, Offset) else source


def _merged(first: Component, second: Component, terms: int) -> Component | None:
    """Returns the component that applies ``first`` to each term and then ``second``, or None."""
    if first.type_name in (*_AFFINE, "FixedAffineComponent") and second.type_name in _AFFINE:
        if first.input_dim > first.output_dim:
            return None
        (inner,), (outer,) = first.kernels, second.kernels
        assert isinstance(inner, Affine)
        assert isinstance(outer, Affine)
        blocks = [Affine(block, None).after(inner) for block in np.split(outer.weight, terms, axis=1)]
        weight = np.hstack([block.weight for block in blocks])
        biases = [affine.bias for affine in (outer, *blocks) if affine.bias is not None]
        bias = np.sum(biases, axis=0) if biases else None
        return affine_component("AffineComponent", weight, bias)
    if first.type_name in _AFFINE and second.type_name == "FixedScaleComponent" and terms == 1:
        (affine,), (scale,) = first.kernels, second.kernels
        assert isinstance(affine, Affine)
        assert isinstance(scale, Diagonal)
        both = affine.scaled_after(scale.scale, None)
        return affine_component("AffineComponent", both.weight, both.bias)
    return None


def round_ivector_times(nnet: Nnet, period: int) -> Nnet:
    """Replaces the first ``ReplaceIndex(..., t, 0)`` in the input of each component node by ``Round``."""
    nodes = {
        name: _with_rounded_input(node, period) if isinstance(node, ComponentNode) else node
        for name, node in nnet.nodes.items()
    }
    return replace(nnet, nodes=nodes)


def _with_rounded_input(node: ComponentNode, period: int) -> ComponentNode:
    # Kaldi processes the written form of the descriptor, in which Append is outermost.
    terms = append_terms(node.input)
    rounded, _ = _round_first(Append(terms), period)
    return replace(node, input=rounded if len(terms) > 1 else children(rounded)[0])


def _round_first(descriptor: Descriptor, period: int) -> tuple[Descriptor, bool]:
    """Returns the descriptor with its first ReplaceIndex replaced, and whether there was one."""
    if isinstance(descriptor, ReplaceIndex):
        if (descriptor.variable, descriptor.value) == ("t", 0):
            return Round(descriptor.source, period), True
        return descriptor, True
    parts = list(children(descriptor))
    for position, part in enumerate(parts):
        parts[position], found = _round_first(part, period)
        if found:
            return with_children(descriptor, tuple(parts)), True
    return descriptor, False

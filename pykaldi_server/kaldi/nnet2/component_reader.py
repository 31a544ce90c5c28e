"""Reads a layer of an nnet2 network.

A layer in a file consists of the name of its type in angle brackets, fields (a name in angle brackets, then a
value), and the name of the type with a slash. The fields depend on the type and on Kaldi's version; those
that only matter in training are skipped.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.nnet2.component import MAX_DIM, Component
from pykaldi_server.kaldi.nnet2.component_types import BUILDERS, Fields
from pykaldi_server.kaldi.util.finite import read_finite_matrix, read_finite_vector
from pykaldi_server.kaldi.util.io import KaldiReader

__all__ = ["read_component"]

_FIELD_KINDS = {
    "float": "LearningRate Alpha MaxChange MaxChangePerSample NumSamplesHistory Count AvgInputCount Scale "
    "Power P DropoutScale DropoutProportion Stddev L2Penalty",
    "int": "Dim InputDim OutputDim LeftContext RightContext ConstComponentDim NumBlocks DctDim DctKeepDim "
    "Rank RankIn RankOut UpdatePeriod PatchDim PatchStep PatchStride PoolSize PoolStride",
    "bool": "IsGradient AppendedConv",
    "vector": "ValueSum DerivSum Counts BiasParams Scales Bias AvgInput",
    "matrix": "LinearParams CuMatrix FilterParams",
    "int_vector": "Context Sizes",
}
_KIND_OF_FIELD = {name: kind for kind, names in _FIELD_KINDS.items() for name in names.split()}


def read_component(reader: KaldiReader) -> Component:
    """Reads one layer.

    Raises:
        ModelFormatError: the bytes are not a layer of a known type with parameters that fit together.
    """
    start = reader.offset
    token = reader.read_token()
    type_name = token[1:-1]
    if token != f"<{type_name}>" or type_name not in BUILDERS:
        raise reader.error("a type of nnet2 components", repr(token), start)
    fields = _read_fields(reader, type_name)
    try:
        component = BUILDERS[type_name](type_name, fields)
    except KeyError as error:
        raise reader.error(f"<{error.args[0]}> in <{type_name}>", "none", start) from None
    except ValueError as error:
        raise reader.error(f"a valid {type_name}", str(error), start) from None
    for side, dim in (("input", component.input_dim), ("output", component.output_dim)):
        if not 0 < dim <= MAX_DIM:
            raise reader.error(f"an {side} dimension from 1 to {MAX_DIM} in <{type_name}>", str(dim), start)
    return component


def _read_fields(reader: KaldiReader, type_name: str) -> Fields:
    fields: Fields = {}
    # Old versions of Kaldi also wrote <SumGroupComponent> at the end.
    ends = (f"</{type_name}>", "<SumGroupComponent>")
    while (token := reader.read_token()) not in ends:
        name = token[1:-1]
        if name == "Reorder":
            kind = "bool" if type_name == "DctComponent" else "int_vector"
        elif type_name == "MixtureProbComponent" and name == "Params":
            count = reader.read_count("matrices", at_most=reader.remaining)
            fields[name] = [_read_matrix(reader, name) for _ in range(count)]
            continue
        elif name in _KIND_OF_FIELD:
            kind = _KIND_OF_FIELD[name]
        else:
            raise reader.error(f"a field of a {type_name}", repr(token))
        fields[name] = _READ[kind](reader, name)
    return fields


def _read_vector(reader: KaldiReader, name: str) -> NDArray[np.float32]:
    return read_finite_vector(reader, f"<{name}>", np.float32)


def _read_matrix(reader: KaldiReader, name: str) -> NDArray[np.float32]:
    return read_finite_matrix(reader, f"<{name}>", np.float32)


_READ: dict[str, Callable[[KaldiReader, str], Any]] = {
    # The builders check the numbers that they use; those that only matter in training may be anything.
    "float": lambda reader, name: reader.read_float(),
    "int": lambda reader, name: reader.read_int(),
    "bool": lambda reader, name: reader.read_bool(),
    "vector": _read_vector,
    "matrix": _read_matrix,
    "int_vector": lambda reader, name: reader.read_int_vector(),
}

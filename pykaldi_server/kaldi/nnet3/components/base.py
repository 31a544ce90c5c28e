"""What a component is, and how its parameters are read (``nnet3/nnet-component-itf.h``).

A component maps the rows of its input to rows of output. Most are *row-wise*: output row t needs only input
row t, and the component is a sequence of *kernels*. Some read several rows: they are described by a *window*
(which input rows output row t reads, and what it does with them), except TdnnComponent, which is an affine
kernel over an Append of shifted rows and is described by time offsets.

Kernels and windows are *bound* to matrices once and then run many times: binding adds commands to a
computation of the core (`NnetComputation`).

In a file, a component is a series of fields between ``<Type>`` and ``</Type>``. The fields depend on the
Kaldi version that wrote them; those that only matter in training are skipped.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi._core import NnetComputation, SubMatrix
from pykaldi_server.kaldi.util.finite import require_finite
from pykaldi_server.kaldi.util.io import FloatArray, KaldiReader, as_float32

__all__ = [
    "BOOL",
    "INTEGER",
    "INTEGERS",
    "MATRIX",
    "MAX_DIM",
    "NOTHING",
    "NUMBER",
    "PAIRS",
    "VECTOR",
    "Array",
    "Component",
    "Fields",
    "Index",
    "Kernel",
    "Scratch",
    "Window",
    "component",
    "plain_array",
    "read_component",
]

Array = NDArray[np.float32]
Index = tuple[int, int]

MAX_DIM = 1 << 18
"""The largest number of columns that a reader accepts."""


class Scratch(Protocol):
    """Provides matrices whose contents are needed only within the current step."""

    def __call__(self, num_rows: int, num_cols: int, /) -> SubMatrix:
        """Returns a contiguous matrix."""


def plain_array(values: Array) -> Array:
    """Returns an array as the core takes it: contiguous and aligned; a copy only if necessary."""
    return np.require(values, np.float32, ["C_CONTIGUOUS", "ALIGNED"])


class Kernel(ABC):
    """A row-wise operation.

    Attributes:
        input_dim, output_dim: columns of input and output.
        in_place: whether `bind` takes the same matrix for input and output.
    """

    in_place = False

    def __init__(self, input_dim: int, output_dim: int):
        self.input_dim = input_dim
        self.output_dim = output_dim

    @abstractmethod
    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        """Adds the commands that compute ``y`` (rows, output_dim) from ``x`` (rows, input_dim).

        ``y`` is contiguous; ``x`` may have any stride.
        """


class Window(ABC):
    """An operation whose output row reads several input rows.

    Attributes:
        any_suffices: one input row is enough; otherwise all required rows must exist.
    """

    any_suffices = False

    def __init__(self, input_dim: int, output_dim: int):
        self.input_dim = input_dim
        self.output_dim = output_dim

    @abstractmethod
    def input_times(self, t: int) -> tuple[Sequence[int], Sequence[bool]] | None:
        """Returns the input times that output time ``t`` reads, and whether each is required.

        Returns None if there is no output at ``t``.
        """

    @abstractmethod
    def bind(
        self,
        source: SubMatrix,
        rows: NDArray[np.intp],
        y: SubMatrix,
        commands: NnetComputation,
        scratch: Scratch,
    ) -> None:
        """Adds the commands that compute the output.

        Args:
            source: (source rows, input_dim).
            rows: (n, inputs) rows of source in the order of `input_times`, -1 where an input is missing.
            y: (n, output_dim), contiguous.
            commands: where to add them.
            scratch: for intermediate results.
        """


@dataclass(frozen=True, eq=False)
class Component:
    """One component of a network, in test mode.

    Attributes:
        type_name: Kaldi's name of its class.
        input_dim, output_dim: columns of input and output.
        kernels: the operations of a row-wise component, in order; empty if it changes nothing.
        window: the operation of a component that reads several rows.
        time_offsets: offsets of the rows that are joined before the kernels (TdnnComponent only).
        num_blocks: number of rows into which an input row is split (DistributeComponent only).
        reads_nothing: it has no input; the kernels, if any, read ones.
        num_parameters: number of trained parameters.
    """

    type_name: str
    input_dim: int
    output_dim: int
    kernels: tuple[Kernel, ...] = ()
    window: Window | None = None
    time_offsets: tuple[int, ...] | None = None
    num_blocks: int | None = None
    reads_nothing: bool = False
    num_parameters: int = 0

    @classmethod
    def row_wise(cls, type_name: str, *kernels: Kernel, num_parameters: int = 0) -> "Component":
        """Builds a component from its kernels."""
        return cls(
            type_name,
            kernels[0].input_dim,
            kernels[-1].output_dim,
            kernels,
            num_parameters=num_parameters,
        )


# Fields of a component in a file

NUMBER = "a number"
INTEGER = "an integer"
BOOL = "T or F"
VECTOR = "a vector"
MATRIX = "a matrix"
INTEGERS = "integers"
PAIRS = "pairs of integers"
_TWO_NUMBERS = "two numbers"
NOTHING = "nothing"

# Fields that only matter in training, or that many components share; their values are not used.
_IGNORED = {
    NUMBER: (
        "LearningRate LearningRateFactor MaxChange L2Regularize OrthonormalConstraint Alpha Rank RankIn "
        "RankOut NumSamplesHistory NumMinibatchesHistory UpdatePeriod Count OderivCount "
        "NumDimsSelfRepaired NumDimsProcessed SelfRepairScale SelfRepairLowerThreshold "
        "SelfRepairUpperThreshold SelfRepairThreshold SelfRepairTotal SelfRepairTarget "
        "SelfRepairClippedProportionThreshold NumSelfRepaired NumBackpropped NumElementsClipped "
        "NumElementsProcessed NumElementsZeroed NumZeroingBoundaries ClippingThreshold ZeroingThreshold "
        "ZeroingInterval RecurrenceInterval MaxMemoryMb JointL2RegularizeProportion BackpropScale "
        "MaxChangePerSample MaxChangePerMinibatch UpdateCount ActiveScalingCount MaxChangeScaleStats "
        "ParamStddev BiasStddev StatsCount MaxRowsProcess TimePeriod ZeroedProportion TimeMaskMaxFrames "
        "SpecAugmentMaxProportion SpecAugmentMaxRegions MinibatchSize"
    ),
    BOOL: "IsGradient UseNaturalGradient IsUpdatable NormBasedClipping TestMode DropoutPerFrame SelfRepair",
    VECTOR: (
        "ValueAvg DerivAvg ValueSum DerivSum OderivRms OderivSumsq SelfRepairConfig SelfRepairProb "
        "EntropyStats"
    ),
    MATRIX: "PosteriorStats",
    _TWO_NUMBERS: "RankInOut AlphaInOut",
    NOTHING: "Continuous Model ConvolutionModel",
}
_COMMON_FIELDS = {name: kind for kind, names in _IGNORED.items() for name in names.split()}
_END_OF_PART = "</ConvolutionModel>"


@dataclass
class Fields:
    """The fields of one component, as read.

    Attributes:
        reader: the file, for errors.
        type_name: the component's class.
        values: the values, by field name without angle brackets.
    """

    reader: KaldiReader
    type_name: str
    values: dict[str, Any] = field(default_factory=dict)

    def error(self, expected: str, found: str) -> ModelFormatError:
        """Builds the error for a field of this component; the caller raises it."""
        return self.reader.error(f"{expected} in {self.type_name}", found)

    def get(self, name: str, default: Any = None) -> Any:
        """Returns a field's value, or the default if the file has no such field."""
        return self.values.get(name, default)

    def require(self, *names: str) -> Any:
        """Returns the value of the field that has one of these names."""
        for name in names:
            if name in self.values:
                return self.values[name]
        raise self.error(f"a field <{names[0]}>", "none")

    def dim(self, *names: str) -> int:
        """Returns a number of columns, from 1 to `MAX_DIM`."""
        return self.integer(*names, least=1, most=MAX_DIM)

    def integer(self, *names: str, least: int, most: int, default: int | None = None) -> int:
        """Returns an integer field within bounds."""
        value = self.require(*names) if default is None else self.get(names[0], default)
        if not least <= value <= most:
            raise self.error(f"<{names[0]}> between {least} and {most}", str(value))
        return int(value)

    def number(self, name: str, default: float | None = None) -> float:
        """Returns a number that is finite in single precision."""
        value = float(self.require(name) if default is None else self.get(name, default))
        if not np.isfinite(as_float32(np.array(value))):
            raise self.error(f"a finite <{name}>", str(value))
        return value

    def vector(self, name: str, dim: int | None = None) -> Array:
        """Returns a vector field as float32; checks its dimension if one is given."""
        value = self._finite(name)
        if value.size == 0 or (dim is not None and len(value) != dim):
            raise self.error(f"<{name}> with {dim or 'some'} elements", f"{len(value)}")
        return value

    def matrix(self, name: str, rows: int | None = None) -> Array:
        """Returns a matrix field as float32 (a view of the file, if possible)."""
        value = self._finite(name)
        if value.size == 0 or (rows is not None and len(value) != rows):
            shape = f"{rows} rows" if rows is not None else "some rows"
            raise self.error(f"<{name}> with {shape}", f"{value.shape[0]} x {value.shape[1]}")
        return value

    def derived(self, values: FloatArray, what: str) -> Array:
        """Returns numbers computed from fields as float32; refuses those that are not finite."""
        try:
            return require_finite(values, what, np.float32)
        except ValueError as error:
            raise self.error("finite derived numbers", str(error)) from None

    def _finite(self, name: str) -> Array:
        values: FloatArray = self.require(name)
        try:
            return require_finite(values, f"<{name}>", np.float32)
        except ValueError as error:
            raise self.error(f"<{name}> with finite numbers", str(error)) from None


_Builder = Callable[[Fields], Component]
_BUILDERS: dict[str, tuple[Mapping[str, str], _Builder]] = {}
_MAX_NESTED_COMPONENTS = 1000


def component(*type_names: str, **kinds: str) -> Callable[[_Builder], _Builder]:
    """Registers the function that builds a component from its fields; ``kinds`` are the fields' kinds."""

    def register(build: _Builder) -> _Builder:
        for type_name in type_names:
            _BUILDERS[type_name] = (kinds, build)
        return build

    return register


def read_component(reader: KaldiReader, nested: bool = False) -> Component:
    """Reads a component, from ``<Type>`` to ``</Type>``.

    Raises:
        ModelFormatError: the type or a field is unknown, or a value is invalid.
    """
    start = reader.offset
    token = reader.read_token()
    type_name = token[1:-1]
    if token != f"<{type_name}>" or type_name not in _BUILDERS:
        raise reader.error("a component type that this runtime knows", repr(token), start)
    kinds, build = _BUILDERS[type_name]
    fields = Fields(reader, type_name)
    while (token := reader.read_token()) != f"</{type_name}>":
        if token == _END_OF_PART:
            continue
        name = token[1:-1]
        if token == "<NumComponents>" and not nested:
            fields.values[name] = _read_nested(reader)
            continue
        kind = kinds.get(name) or _COMMON_FIELDS.get(name)
        if kind is None or token != f"<{name}>":
            raise fields.error("a known field", repr(token))
        fields.values[name] = _READERS[kind](reader)
    return build(fields)


def _read_nested(reader: KaldiReader) -> list[Component]:
    count = reader.read_count("components", _MAX_NESTED_COMPONENTS)
    return [read_component(reader, nested=True) for _ in range(count)]


def _read_two_numbers(reader: KaldiReader) -> tuple[float, float]:
    return reader.read_float(), reader.read_float()


# Unused numbers are read as floats, because integers have the same length in binary form.
_READERS: dict[str, Callable[[KaldiReader], Any]] = {
    NUMBER: KaldiReader.read_float,
    INTEGER: KaldiReader.read_int,
    BOOL: KaldiReader.read_bool,
    VECTOR: KaldiReader.read_vector,
    MATRIX: KaldiReader.read_matrix,
    INTEGERS: KaldiReader.read_int_vector,
    PAIRS: KaldiReader.read_int_pairs,
    _TWO_NUMBERS: _read_two_numbers,
    NOTHING: lambda reader: None,
}

"""Calls everything in the extension with arguments that are wrong in all kinds of ways. Run as a program:

    hostile_calls.py MODELS SEED CALLS

The signatures are those that the extension itself has in its docstrings, so new bindings are called, too.
Works in the current folder, which should be empty. Any exception that is not one of `REFUSALS` ends the
program, and so does a crash; each call is written to ``last-call`` before it is made. Prints how many calls
were answered, how many were refused, and how many functions there are.
"""

import math
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from damage import limited_memory

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.kaldi import _core

# What a call may raise; the extension's own errors are among them.
REFUSALS = (PykaldiServerError, TypeError, ValueError, IndexError, OSError, MemoryError)
INTEGERS = [
    *(-(2**70), -(2**63), -(2**31) - 1, -(2**31), -2, -1, 0, 1, 2, 3, 4, 7, 100, 40000),
    *(2**24, 2**31 - 2, 2**31 - 1, 2**31, 2**32 + 1, 2**63 - 1, 2**63, 2**64),
]
FLOATS = [math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e-45, 1e-300, 0.1, 0.5, 1.0, 8.0, 1e30, 1e300]
DTYPES = [
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    ">f4",
    "U3",
    "O",
    "float16",
    "M8[s]",
]
# Made by pybind11, which has them answer in its own way.
SKIPPED = {"_pybind11_conduit_v1_", "FstFormat"}


class Pool:
    """Makes arguments. Objects that calls return are kept, and become arguments of later calls."""

    def __init__(self, models: Path, rng: random.Random) -> None:
        self.rng = rng
        self.objects: dict[str, list[Any]] = {}
        self.paths = self._write_files(models)
        table = _core.SymbolTable()
        for word in ("<eps>", "a", "b", "<s>", "</s>"):
            table.add_symbol(word)
        self.keep(table)
        for fst in (self._graph(), _core.StdVectorFst()):
            self.keep(fst)
            self.keep(_core.StdConstFst(fst))
        self.keep(_core.BackoffLm(_core.StdConstFst(self._graph())))
        self.keep(_core.ConstArpaLm.read("G.carpa"))
        self.keep(
            _core.TransitionInformation([0, 1, 1, 2, 2], [0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 1, 0, 1, 0])
        )
        self.keep(_core.WordBoundaryInfo([0, 1, 2], 0, 0, True))
        self.keep(_core.WordAlignLatticeLexiconInfo([[1, 1, 1, 2], [2, 2, 1]]))
        self.keep(_core.LookaheadFst.read(str(models / "HCLr.fst"), str(models / "Gr.fst"), [], 1 << 20))
        self.keep(_core.LatticeFasterDecoderConfig())
        self.keep(self._frame_computer())
        for _ in range(6):
            self.keep(self.lattice(compact=False))
            self.keep(self.lattice(compact=True))

    def keep(self, value: object) -> None:
        """Lets a result be an argument."""
        for item in value if isinstance(value, (tuple, list)) else [value]:
            name = type(item).__name__
            if type(item).__module__ == _core.__name__:
                kept = self.objects.setdefault(name, [])
                kept.append(item)
                if len(kept) > 12:
                    del kept[self.rng.randrange(len(kept))]

    def _frame_computer(self) -> _core.FrameComputer:
        two = np.array([1, 2], np.int32)
        return _core.FrameComputer(
            window=np.ones(5, np.float32),
            padded_size=6,
            frame_shift=2,
            remove_dc_offset=True,
            preemph_coeff=0.97,
            raw_energy=True,
            use_power=False,
            filter_begins=two - 1,
            filter_ends=two,
            filter_weights=np.ones(2, np.float32),
            use_log=True,
        )

    def _graph(self) -> _core.StdVectorFst:
        fst = _core.StdVectorFst()
        for _ in range(3):
            fst.add_state()
        fst.set_start(0)
        for arc in (
            (0, 1, 1, 0.5, 1),
            (0, 0, 0, 0.25, 2),
            (1, 2, 0, 0.0, 1),
            (1, 3, 2, 1.0, 2),
            (2, 4, 2, 0.0, 2),
        ):
            fst.add_arc(arc[0], _core.StdArc(*arc[1:]))
        fst.set_final(2, 0.125)
        return fst

    def lattice(self, compact: bool) -> _core.LatticeVectorFst | _core.CompactLatticeVectorFst:
        """A lattice of a few states, which may have cycles, no end, or states that nothing leads to."""
        rng = self.rng
        weight = _core.LatticeWeight
        lattice = _core.CompactLatticeVectorFst() if compact else _core.LatticeVectorFst()
        num_states = rng.randrange(6)
        for _ in range(num_states):
            lattice.add_state()
        forward = rng.random() < 0.7
        for state in range(num_states):
            for _ in range(rng.randrange(4)):
                nextstate = rng.randrange(num_states)
                if forward and nextstate <= state:
                    continue
                costs = weight(rng.choice([0.0, 1.0, -3.0, 1e38]), rng.random())
                ids = [rng.randrange(6) for _ in range(rng.randrange(3))]
                if isinstance(lattice, _core.CompactLatticeVectorFst):
                    whole = _core.CompactLatticeWeight(costs, ids)
                    lattice.add_arc(state, _core.CompactLatticeArc(rng.randrange(4), whole, nextstate))
                else:
                    label = rng.randrange(6)
                    lattice.add_arc(state, _core.LatticeArc(label, rng.randrange(4), costs, nextstate))
            if rng.random() < 0.4:
                lattice.set_final(state)
        if num_states and rng.random() < 0.9:
            lattice.set_start(0 if forward else rng.randrange(num_states))
        return lattice

    def _write_files(self, models: Path) -> list[object]:
        arpa = "\\data\\\nngram 1=3\nngram 2=1\n\n\\1-grams:\n-1 1 -0.5\n-99 3 0\n-1 4\n"
        arpa += "\\2-grams:\n-1 3 1\n\\end\\\n"
        builder = _core.ConstArpaLmBuilder("G.arpa", 3, 4, -1, None)
        builder.feed(arpa.encode())
        builder.write("G.carpa")
        Path("words.txt").write_text("<eps> 0\na 1\nb 2\n")
        Path("garbage").write_bytes(self.rng.randbytes(500))
        Path("empty").touch()
        _core.StdConstFst(self._graph()).write("G.fst")
        return [
            *("", ".", "out", "a\0b", "no/such/folder", "garbage", "empty", "words.txt", "G.fst", "G.carpa"),
            *("\udcff", b"G.fst", Path("G.carpa"), "x" * 5000),
        ]

    def array(self, dtype: str, axes: int) -> object:
        """An array that is right in half of the cases."""
        rng = self.rng
        shape = tuple(
            rng.choice([0, 1, 2, 3, 5, 15]) for _ in range(axes if rng.random() < 0.9 else rng.randrange(4))
        )
        kind = dtype if rng.random() < 0.7 else rng.choice(DTYPES)
        values = np.array([rng.choice([0, 1, 2, 3]) for _ in range(math.prod(shape))], dtype=kind).reshape(
            shape
        )
        if np.issubdtype(values.dtype, np.floating) and values.size and rng.random() < 0.3:
            values.flat[rng.randrange(values.size)] = rng.choice([math.nan, math.inf, -math.inf, 6e4])
        if values.dtype == np.int32 and values.size and rng.random() < 0.3:
            values.flat[rng.randrange(values.size)] = rng.choice([-1, -(2**31), 2**31 - 1, 2**31 - 2])
        change = rng.randrange(8)
        if change == 0 and values.ndim:
            return values[::-1]
        if change == 1 and values.ndim:
            return values[..., ::2]
        if change == 2:
            return values.T
        if change == 3 and not values.dtype.hasobject:
            misaligned = np.frombuffer(b"\0" + values.tobytes(), np.uint8)[1:]
            return misaligned.view(values.dtype).reshape(shape) if values.size else values
        if change == 4:
            values.flags.writeable = False
        return values

    def buffer(self) -> object:
        """Bytes of a lattice, damaged or not, in objects of all kinds."""
        rng = self.rng
        lattice = rng.choice([*self.objects["LatticeVectorFst"], *self.objects["CompactLatticeVectorFst"]])
        data = bytearray(lattice.write(rng.random() < 0.5) if rng.random() < 0.9 else b"")
        for _ in range(rng.randrange(3)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        kinds: list[Callable[[], object]] = [
            lambda: bytes(data),
            lambda: data,
            lambda: memoryview(data)[::-1],
            lambda: memoryview(data)[::2],
            lambda: memoryview(bytes(data))[len(data) // 2 :],
            lambda: np.frombuffer(data, np.uint8)[::-1] if data else b"",
            lambda: np.zeros((4, 4))[:, 1],
            lambda: "text",
            lambda: np.array([None, "object"], dtype=object),
        ]
        return rng.choice(kinds)()

    def argument(self, annotation: str) -> object:
        """An argument for a type as the extension names it."""
        rng = self.rng
        if rng.random() < 0.06:
            return rng.choice(
                [None, object(), "text", b"bytes", -1, 2**40, math.nan, [], [None], np.zeros(3), int]
            )
        if "numpy.ndarray" in annotation or "NDArray" in annotation or "ArrayLike" in annotation:
            return self.array(rng.choice(["float32", "float64", "int32", "uint8"]), rng.choice([1, 2]))
        if "Buffer" in annotation:
            return self.buffer()
        if "PathLike" in annotation:
            return rng.choice(self.paths)
        if "Sequence[collections.abc.Sequence" in annotation:
            return [self.argument("Sequence[int]") for _ in range(rng.randrange(4))]
        if "Sequence" in annotation:
            integers = [rng.randrange(6) for _ in range(rng.randrange(6))]
            if rng.random() < 0.15:
                integers.append(rng.choice(INTEGERS))
            return rng.choice([list(integers), tuple(integers), np.array(integers), iter(integers)])
        if "Callable" in annotation:
            return rng.choice([lambda *_: None, lambda: None, lambda *_: 1 / 0, 3])
        if "SupportsFloat" in annotation:
            return rng.choice([*FLOATS, *INTEGERS])
        if "SupportsInt" in annotation:
            return rng.randrange(4) if rng.random() < 0.7 else rng.choice([*INTEGERS, 1.5, np.int64(2), True])
        if annotation == "bool":
            return rng.random() < 0.5
        if annotation == "str":
            return rng.choice(["", "a", "<s>", "a\0b", "é", "\udcff"])
        if annotation == "bytes":
            return rng.choice([b"", b"x" * 32, b"\\data\\\nngram 1=1\n", rng.randbytes(40)])
        name = annotation.rpartition(".")[2]
        if name in self.objects:
            return rng.choice(self.objects[name])
        return None


def split_arguments(text: str) -> list[str]:
    """The arguments of a signature: parts between commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip() not in ("", "/", "*")]


def callables() -> list[tuple[str, Callable[..., Any], list[str]]]:
    """Everything that can be called: its name, the function, and the types of its arguments."""
    functions: dict[str, Any] = {}
    for name, value in vars(_core).items():
        if name in SKIPPED:
            continue
        if isinstance(value, type):
            functions[f"{name}.__init__"] = value
            for key in vars(value):
                if key not in SKIPPED and not key.startswith("__"):
                    member = vars(value)[key]
                    functions[f"{name}.{key}"] = (
                        member.fget if isinstance(member, property) else getattr(value, key)
                    )
        elif not name.startswith("_"):
            functions[name] = value
    found = []
    for name, function in functions.items():
        document = vars(function)["__init__"].__doc__ if isinstance(function, type) else function.__doc__
        for line in (document or "").splitlines():
            match = re.fullmatch(r"(?:\d+\. )?\w*\((.*)\) -> .+", line)
            if match and match[1] != "*args, **kwargs":
                parts = split_arguments(match[1])
                if isinstance(function, type):
                    parts = parts[1:]
                types = [part.partition(": ")[2].partition(" = ")[0] for part in parts]
                found.append((name, function, types))
    return found


def main(models: Path, seed: int, num_calls: int) -> None:
    rng = random.Random(seed)
    pool = Pool(models, rng)
    every = callables()
    results = {"answered": 0, "refused": 0}
    with limited_memory(), open("last-call", "w") as log:
        for number in range(num_calls):
            name, function, types = rng.choice(every)
            arguments = [pool.argument(annotation) for annotation in types]
            if rng.random() < 0.02:
                arguments = arguments[:-1]
            log.seek(0)
            log.write(f"seed {seed}, call {number}: {name}{arguments!r:.2000}\n")
            log.truncate()
            log.flush()
            try:
                pool.keep(function(*arguments))
            except (*REFUSALS, ZeroDivisionError):
                results["refused"] += 1
            else:
                results["answered"] += 1
            if rng.random() < 0.01:
                pool.keep(pool.lattice(compact=rng.random() < 0.5))
    print(results["answered"], results["refused"], len({name for name, _, _ in every}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

"""Nothing that Python gives to the extension ends the process: wrong arrays, wrong numbers, wrong files."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lattices import make_lattice
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi._core import (
    ConstArpaLmBuilder,
    FrameBuffer,
    FrameComputer,
    GaussianPosteriors,
    LatticeFasterDecoderConfig,
    LatticeFasterOnlineDecoder,
    OnlineCmvn,
    OnlineIvectorFeature,
    OnlineIvectorModel,
    PackedProduct,
    SilenceWeighting,
    acc_ivector_stats,
    all_finite,
    linear_cgd,
    pitch_viterbi,
    plp_cepstra,
    read_lattice,
    rescore_lattice,
)
from pykaldi_server.kaldi.fstext import LatticeWeight, StdArc, StdConstFst, StdVectorFst, SymbolTable
from pykaldi_server.kaldi.lat import (
    CompactLatticeArc,
    CompactLatticeVectorFst,
    CompactLatticeWeight,
    LatticeVectorFst,
)
from pykaldi_server.kaldi.lm import build_const_arpa

HOSTILE_CALLS = Path(__file__).parent.with_name("hostile_calls.py")
CALLS = 6000
# One folder for all examples of a test.
few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def run(folder: Path, *arguments: str) -> str:
    """Runs Python in a process of its own, which may crash."""
    command = [sys.executable, "-X", "faulthandler", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    last_call = folder / "last-call"
    where = last_call.read_text() if last_call.exists() else ""
    assert done.returncode == 0, f"{done.stderr}\n{where}"
    return done.stdout


@few
@given(st.integers(0, 2**32 - 1))
def test_no_call_ends_the_process(tmp_path: Path, models: Path, seed: int) -> None:
    output = run(tmp_path, str(HOSTILE_CALLS), str(models / "english/graph"), str(seed), str(CALLS))
    answered, refused, functions = map(int, output.split())
    assert answered + refused == CALLS
    assert min(answered, refused) > CALLS / 4
    assert functions > 200


SHORT_OF_MEMORY = """
import resource
import numpy as np
from pykaldi_server.kaldi._core import SilenceWeighting

MIB = 1 << 20
before = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
refused = 0
for limit_mib in range(0, 160, 4):
    weighting = SilenceWeighting(np.array([False, True]), 0.25, -1.0, 1)
    resource.setrlimit(resource.RLIMIT_AS, (used + limit_mib * MIB, before[1]))
    try:
        frames, deltas = weighting.get_delta_weights(1 << 22, 0)
        assert frames.shape == deltas.shape == (1 << 22,)
    except MemoryError:
        refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
print(refused)
"""


def test_an_array_for_which_there_is_no_memory_is_an_error(tmp_path: Path) -> None:
    """Wherever it runs out: for the numbers, for the first array or for the second."""
    assert 0 < int(run(tmp_path, "-c", SHORT_OF_MEMORY)) < 40


# Arrays and buffers


def small_graph() -> StdConstFst:
    fst = StdVectorFst()
    fst.set_start(fst.add_state())
    fst.add_arc(0, StdArc(1, 1, 0.5, 0))
    fst.set_final(0)
    return StdConstFst(fst)


def decoder_of(id2pdf: NDArray[np.int32]) -> LatticeFasterOnlineDecoder:
    return LatticeFasterOnlineDecoder(small_graph(), LatticeFasterDecoderConfig(), id2pdf)


IVECTOR_ARRAYS: dict[str, Any] = {
    "features": np.ones((2, 3), np.float32),
    "posteriors": np.ones((2, 4), np.float32),
    "linear": np.ones((4, 3, 2)),
    "quadratic": np.ones((4, 3)),
    "linear_term": np.ones(2),
    "quadratic_term": np.ones(3),
}


def acc_ivector_stats_with(name: str, array: NDArray[Any]) -> object:
    return acc_ivector_stats(**(IVECTOR_ARRAYS | {name: array}))


def frame_computer(**changes: NDArray[Any]) -> FrameComputer:
    arrays = {
        "window": SQUARE[0],
        "filter_begins": np.array([0, 1], np.int32),
        "filter_ends": np.array([1, 2], np.int32),
        "filter_weights": np.ones(2, np.float32),
    } | changes
    return FrameComputer(
        padded_size=4,
        frame_shift=2,
        remove_dc_offset=True,
        preemph_coeff=0.97,
        raw_energy=True,
        use_power=True,
        use_log=True,
        **arrays,
    )


def online_cmvn(**stats: NDArray[Any]) -> OnlineCmvn:
    return OnlineCmvn(4, 9, 9, 9, True, False, [], **({"global_stats": np.ones((2, 5))} | stats))


def ivector_model(**changes: NDArray[Any]) -> OnlineIvectorModel:
    arrays = {"linear": np.ones((4, 4, 2)), "quadratic": np.ones((4, 3))} | changes
    return OnlineIvectorModel(
        lda=PackedProduct(SQUARE),
        gaussians=GaussianPosteriors(SQUARE, SQUARE, SQUARE[0]),
        left_context=0,
        right_context=0,
        adds_normalized=False,
        num_gselect=2,
        min_post=0.1,
        posterior_scale=1.0,
        **arrays,
    )


def ivector_feature(**changes: NDArray[Any]) -> OnlineIvectorFeature:
    arrays = {"linear_term": np.ones(2), "quadratic_term": np.ones(3)} | changes
    return OnlineIvectorFeature(ivector_model(), FrameBuffer(4), online_cmvn(), 0.0, 0.0, 0.0, **arrays)


ID2PDF = np.array([-1, 0], np.int32)
SQUARE = np.zeros((4, 4), np.float32)
PLP_BASES = np.zeros((3, 6), np.float32)
CALLS_WITH_ARRAYS: list[tuple[str, NDArray[Any], Callable[[NDArray[Any]], object]]] = [
    ("loglikes", SQUARE, lambda x: decoder_of(ID2PDF).advance_decoding(x)),
    ("id2pdf", ID2PDF, lambda x: decoder_of(x)),
    ("is_silence", np.zeros(2, np.uint8), lambda x: decoder_of(ID2PDF).trailing_silence_length(x)),
    ("log_likelihoods", SQUARE, lambda x: rescore_lattice(x, ID2PDF, LatticeVectorFst())),
    ("id2pdf", ID2PDF, lambda x: rescore_lattice(SQUARE, x, LatticeVectorFst())),
    ("local_cost", SQUARE, lambda x: pitch_viterbi(x, 0.1, SQUARE[0])),
    ("forward_cost", SQUARE[0], lambda x: pitch_viterbi(SQUARE, 0.1, x)),
    ("is_silence", np.zeros(4, np.bool_), lambda x: SilenceWeighting(x, 0.1, -1, 1)),
    (
        "transition_ids",
        np.ones(2, np.int32),
        lambda x: SilenceWeighting(np.zeros(4, np.bool_), 0.1, -1, 1).set_traceback(2, 0, x),
    ),
    ("samples", SQUARE[0], all_finite),
    ("samples", np.zeros(8, np.float32), lambda x: frame_computer().compute(x, 3)),
    ("window", SQUARE[0], lambda x: frame_computer(window=x)),
    ("filter_begins", np.array([0, 1], np.int32), lambda x: frame_computer(filter_begins=x)),
    ("filter_ends", np.array([1, 2], np.int32), lambda x: frame_computer(filter_ends=x)),
    ("filter_weights", SQUARE[0, :2].copy(), lambda x: frame_computer(filter_weights=x)),
    ("transform", np.ones((4, 2), np.float32), lambda x: frame_computer(transform=x)),
    ("mel_energies", SQUARE, lambda x: plp_cepstra(x, SQUARE[0], 0.3, PLP_BASES)),
    ("equal_loudness", SQUARE[0], lambda x: plp_cepstra(SQUARE, x, 0.3, PLP_BASES)),
    ("idft_bases", PLP_BASES, lambda x: plp_cepstra(SQUARE, SQUARE[0], 0.3, x)),
    ("means_invvars", SQUARE, lambda x: GaussianPosteriors(x, SQUARE, SQUARE[0])),
    ("inv_vars", SQUARE, lambda x: GaussianPosteriors(SQUARE, x, SQUARE[0])),
    ("gconsts", SQUARE[0], lambda x: GaussianPosteriors(SQUARE, SQUARE, x)),
    ("features", SQUARE, lambda x: GaussianPosteriors(SQUARE, SQUARE, SQUARE[0]).compute(x, 2, SQUARE[0])),
    ("min_post", SQUARE[0], lambda x: GaussianPosteriors(SQUARE, SQUARE, SQUARE[0]).compute(SQUARE, 2, x)),
    *((name, good, partial(acc_ivector_stats_with, name)) for name, good in IVECTOR_ARRAYS.items()),
    ("frames", SQUARE, lambda x: FrameBuffer(4).append(x)),
    ("frames", SQUARE, lambda x: online_cmvn().normalize(x, SQUARE[:0])),
    ("leaving", SQUARE[:2], lambda x: online_cmvn().normalize(np.zeros((11, 4), np.float32), x)),
    ("frames", SQUARE, lambda x: online_cmvn().count(x)),
    ("frames", SQUARE, lambda x: online_cmvn().freeze(x)),
    ("frames", SQUARE, lambda x: online_cmvn(frozen_stats=np.ones((2, 5))).apply_frozen(x)),
    *(
        (name, np.ones((2, 5)), partial(lambda name, x: online_cmvn(**{name: x}), name))
        for name in ("global_stats", "speaker_stats", "frozen_stats")
    ),
    ("linear", np.ones((4, 4, 2)), lambda x: ivector_model(linear=x)),
    ("quadratic", np.ones((4, 3)), lambda x: ivector_model(quadratic=x)),
    ("linear_term", np.ones(2), lambda x: ivector_feature(linear_term=x)),
    ("quadratic_term", np.ones(3), lambda x: ivector_feature(quadratic_term=x)),
    ("frames", SQUARE, lambda x: PackedProduct(SQUARE).multiply_spliced(x)),
    ("weight", SQUARE, lambda x: PackedProduct(x)),
    ("bias", SQUARE[0], lambda x: PackedProduct(SQUARE, x)),
    ("scale", SQUARE[0], lambda x: PackedProduct(SQUARE, scale=x)),
    ("offset", SQUARE[0], lambda x: PackedProduct(SQUARE, offset=x)),
    ("x", SQUARE, lambda x: PackedProduct(SQUARE).multiply(x)),
    ("a", np.ones(3), lambda x: linear_cgd(x, np.ones(2), np.ones(2), 1)),
    ("b", np.ones(2), lambda x: linear_cgd(np.ones(3), x, np.ones(2), 1)),
    ("x", np.ones(2), lambda x: linear_cgd(np.ones(3), np.ones(2), x, 1)),
]


def misaligned(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, one byte off where the processor wants them."""
    data = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:]
    return data.view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize(("name", "good", "call"), CALLS_WITH_ARRAYS)
def test_arrays_must_be_what_they_should_be(
    name: str, good: NDArray[Any], call: Callable[[NDArray[Any]], object]
) -> None:
    call(good)
    for dtype in ("float16", "int64", "complex64", ">i4", ">f4", "U3", "O"):
        with pytest.raises(TypeError, match=f"{name}: expected .* array of {good.dtype}.*, found one of "):
            call(good.astype(dtype))
    for other in (good[..., np.newaxis], good[0]):
        with pytest.raises(
            ValueError, match=rf"{name}: expected .*, found one of {good.dtype} with the shape \("
        ):
            call(np.asarray(other))
    bad = [good[::-1], np.repeat(good, 2, axis=-1)[..., ::2]]
    if good.itemsize > 1:
        bad.append(misaligned(good))
    for other in bad:
        with pytest.raises(ValueError, match=f"{name}: .* not contiguous"):
            call(other)
    with pytest.raises(TypeError):
        call(good.tolist())


@pytest.mark.parametrize("pdf", [2**31 - 1, 2**31 - 2, 2**24])
def test_pdfs_that_no_model_has(pdf: int) -> None:
    with pytest.raises(ConfigError, match=f"transition-id 1: expected a pdf below 16777216, found {pdf}"):
        decoder_of(np.array([-1, pdf], np.int32))


def test_buffers_that_are_not_contiguous() -> None:
    data = make_lattice([(None, [(1, 1, 0.0, 0.0, 1)]), (0.0, [])]).write()
    assert read_lattice(memoryview(data), 0, "x")[0].num_states() == 2
    wide = np.repeat(np.frombuffer(data, np.uint8), 2)
    for view in (memoryview(data)[::-1], memoryview(wide.data)[::2]):
        with pytest.raises(ValueError, match="expected contiguous bytes"):
            read_lattice(view, 0, "x")
    with pytest.raises(ValueError, match=f"expected an offset of at most {len(data)}, found {len(data) + 1}"):
        read_lattice(data, len(data) + 1, "x")


# Numbers


@pytest.mark.parametrize("costs", [(float("nan"), 0.0), (0.0, float("inf")), (float("-inf"), 0.0)])
def test_costs_of_lattices_are_finite(costs: tuple[float, float]) -> None:
    lattice = CompactLatticeVectorFst()
    lattice.add_state()
    weight = CompactLatticeWeight(LatticeWeight(*costs), [])
    with pytest.raises(ValueError, match="expected finite costs"):
        lattice.add_arc(0, CompactLatticeArc(1, weight, 0))
    with pytest.raises(ValueError, match="expected finite costs"):
        lattice.set_final(0, weight)
    lattice.set_final(0, CompactLatticeWeight.zero())
    with pytest.raises(ConfigError, match="expected finite scales"):
        lattice.scale(costs[0], costs[1])


def test_keys_of_symbols_end_before_int64_does() -> None:
    table = SymbolTable()
    assert table.add_pair("a", 2**63 - 2) == 2**63 - 2
    with pytest.raises(IndexError, match=f"expected a key of 0 to {2**63 - 2}, found {2**63 - 1}"):
        table.add_symbol("b")
    assert table.add_symbol("a") == 2**63 - 2


def test_addresses_of_const_arpa_fit_into_its_form() -> None:
    builder = ConstArpaLmBuilder("G.arpa", 1, 2, -1, None)
    with pytest.raises(ConfigError, match=f"expected a distance of 0 to {2**30 - 1}, found {2**30}"):
        builder.set_max_address_offset(2**30)


# Files


def test_writing_over_a_file_that_is_mapped(tmp_path: Path) -> None:
    small_graph().write(os.fspath(tmp_path / "G.fst"))
    before = (tmp_path / "G.fst").read_bytes()
    program = (
        "from pykaldi_server.kaldi._core import StdConstFst\n"
        "fst = StdConstFst.read('G.fst')\n"
        "fst.write('G.fst')\n"
        "print([arc.weight for arc in fst.arcs(0)])\n"
    )
    assert run(tmp_path, "-c", program) == "[0.5]\n"
    assert (tmp_path / "G.fst").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["G.fst"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError):
        small_graph().write(tmp_path / "none" / "G.fst")
    with pytest.raises(IsADirectoryError):
        small_graph().write(tmp_path / "folder")
    table = SymbolTable()
    table.add_symbol("a")
    table.write_text("/dev/null")
    (tmp_path / "words.txt").touch()
    (tmp_path / "link").symlink_to("words.txt")
    table.write_text(tmp_path / "link")
    assert (tmp_path / "words.txt").read_text() == "a\t0\n"
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "words.txt"]


def test_names_of_files_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"mod\xe8le.fst")
    small_graph().write(path)
    assert StdConstFst.read(path).num_states() == 1
    assert StdConstFst.read(os.fsencode(path)).num_states() == 1
    path.write_bytes(b"something else")
    with pytest.raises(ModelFormatError, match=f"{re.escape(path.name)}: at byte 0: expected the header"):
        StdConstFst.read(path)
    with pytest.raises(TypeError):
        StdConstFst.read(f"{tmp_path}/G.fst\0.fst")


def test_a_model_of_no_words_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "G.arpa").write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-1 7\n\n\\end\\\n")
    with pytest.raises(ModelFormatError):
        build_const_arpa(tmp_path / "G.arpa", tmp_path / "G.carpa", bos_symbol=8, eos_symbol=9)
    assert [path.name for path in tmp_path.iterdir()] == ["G.arpa"]

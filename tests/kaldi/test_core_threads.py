"""Threads that share objects of the core: graphs that all may search, and objects that only one may change.

`make test-tsan` runs this file with the thread sanitizer.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.errors import DecoderError, LatticeError
from pykaldi_server.kaldi._core import (
    ConstArpaLmBuilder,
    FrameBuffer,
    GaussianPosteriors,
    OnlineCmvn,
    OnlineIvectorFeature,
    OnlineIvectorModel,
    PackedProduct,
    read_lattice,
)
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import (
    DecodingGraph,
    LatticeWeight,
    SymbolTable,
    read_decoding_graph,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeArc, CompactLatticeVectorFst, CompactLatticeWeight
from pykaldi_server.kaldi.lat.functions import nbest
from pykaldi_server.kaldi.util.io import KaldiReader

NUM_THREADS = 4
OPTIONS = LatticeFasterDecoderOptions(beam=8.0, max_active=400, min_active=20, lattice_beam=4.0)


# Graphs


@pytest.fixture(scope="module")
def trans_model(models: Path) -> TransitionModel:
    return TransitionModel.read(KaldiReader.open(models / "english/am/final.mdl"))


def speech(trans_model: TransitionModel, seed: int) -> NDArray[np.float32]:
    """Log-likelihoods that mean nothing, and so lead through many states."""
    shape = (60, int(trans_model.id2pdf.max()) + 1)
    return np.random.default_rng(seed).normal(-3.0, 1.0, shape).astype(np.float32)


def words_and_cost(graph: DecodingGraph, trans_model: TransitionModel, seed: int) -> tuple[list[int], float]:
    decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, trans_model.id2pdf)
    for block in np.split(speech(trans_model, seed), 10):
        decoder.advance_decoding(block)
        decoder.partial_words()
    decoder.finalize_decoding()
    path = decoder.get_best_path()
    return path.words.tolist(), path.graph_cost + path.acoustic_cost


# All that was composed is kept, or forgotten before each block: threads then make stores and leave them.
@pytest.mark.parametrize("store_bytes", [1 << 28, 1])
def test_threads_compose_one_lookahead_graph(
    models: Path, trans_model: TransitionModel, store_bytes: int
) -> None:
    def graph() -> DecodingGraph:
        return read_lookahead_graph(models / "english/graph", store_bytes=store_bytes)

    seeds = [0, 1, 2, 3] * 2  # each by two threads at about the same time
    alone = graph()
    expected = [words_and_cost(alone, trans_model, seed) for seed in seeds]
    shared = graph()
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        found = list(pool.map(lambda seed: words_and_cost(shared, trans_model, seed), seeds))
    assert found == expected
    assert any(words for words, _ in found)


def test_threads_search_one_static_graph(models: Path) -> None:
    graph = read_decoding_graph(models / "english/graph-digits/HCLG.fst")
    id2pdf = np.zeros(graph.max_input_label() + 1, np.int32)

    def num_tokens(num_frames: int) -> int:
        decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, id2pdf)
        decoder.advance_decoding(np.zeros((num_frames, 1), np.float32))
        return decoder.statistics().num_tokens

    frames = [30, 31, 32, 33] * 2
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        assert list(pool.map(num_tokens, frames)) == [num_tokens(number) for number in frames]


# Objects of one thread at a time


def large_lattice(num_states: int = 200_000) -> CompactLatticeVectorFst:
    """A chain whose states are numbered from the end, so that sorting it takes a while."""
    lattice = CompactLatticeVectorFst()
    for _ in range(num_states):
        lattice.add_state()
    lattice.set_start(num_states - 1)
    weight = CompactLatticeWeight(LatticeWeight(1.0, 1.0), [1])
    for state in range(1, num_states):
        lattice.add_arc(state, CompactLatticeArc(1, weight, state - 1))
    lattice.set_final(0)
    return lattice


def errors_of_two_threads(first: Callable[[], object], second: Callable[[], object]) -> list[str]:
    """Calls both again and again, each in its thread, until one of them is refused."""
    errors: list[str] = []
    done = threading.Event()

    def work(call: Callable[[], object]) -> None:
        while not done.is_set():
            try:
                call()
            except (DecoderError, LatticeError) as error:
                errors.append(str(error))
                done.set()

    threads = [threading.Thread(target=work, args=(call,)) for call in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_a_lattice_that_another_thread_changes() -> None:
    lattice = large_lattice()
    errors = errors_of_two_threads(lambda: lattice.scale(1.0, 1.0), lattice.num_states)
    assert set(errors) <= {
        "the lattice is being changed by another thread",
        "the lattice is used by another thread",
    }
    assert lattice.num_states() == 200_000
    errors = errors_of_two_threads(lattice.copy, lambda: lattice.set_final(0))
    assert "the lattice is used by another thread" in errors


def test_many_threads_may_read_a_lattice() -> None:
    lattice = large_lattice(2000)
    lattice.topsort()
    found = []
    threads = [threading.Thread(target=lambda: found.append(len(nbest(lattice, 3)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 4
    lattice.scale(1.0, 1.0)  # nobody uses it any more


def test_a_builder_that_another_thread_uses() -> None:
    builder = ConstArpaLmBuilder("G.arpa", 1, 2, -1, None)
    builder.feed(b"some text\n" * 100_000)  # before the data
    errors = errors_of_two_threads(lambda: builder.feed(b"some text\n" * 100_000), builder.num_skipped)
    assert errors[0] == "the builder of a language model is used by another thread"


def test_a_table_that_a_builder_reads() -> None:
    table = SymbolTable()
    for number in range(1000):
        table.add_symbol(f"word{number}")
    builder = ConstArpaLmBuilder("G.arpa", 1, 2, -1, table)
    builder.feed(b"\\data\\\nngram 1=1000000000\n\n\\1-grams:\n")
    unknown = b"-1 none\n" * 100_000
    errors = errors_of_two_threads(lambda: builder.feed(unknown), lambda: table.add_symbol("word1"))
    assert "the table of" in errors[0]


def test_a_buffer_stays_while_it_is_read() -> None:
    lattice = large_lattice()
    data = bytearray(lattice.write())
    sizes = []
    reader = threading.Thread(target=lambda: sizes.append(read_lattice(data, 0, "x")[0].num_states()))
    reader.start()
    while reader.is_alive():
        try:
            data.append(0)
        except BufferError:
            continue
        del data[-1]
    assert sizes == [lattice.num_states()]


def test_features_that_another_thread_uses() -> None:
    """Neither of two threads that advance one stream reads what the other one is changing."""
    dim, ones = 40, np.ones((256, 40), np.float32)
    base = FrameBuffer(dim)
    base.append(np.zeros((4000, dim), np.float32))
    model = OnlineIvectorModel(
        lda=PackedProduct(np.eye(dim, dtype=np.float32)),
        gaussians=GaussianPosteriors(ones, ones, ones[:, 0].copy()),
        linear=np.zeros((256, dim, 2)),
        quadratic=np.zeros((256, 3)),
        left_context=0,
        right_context=0,
        adds_normalized=True,
        num_gselect=2,
        min_post=0.0,
        posterior_scale=1.0,
    )
    stats = np.ones((2, dim + 1))
    cmvn = OnlineCmvn(dim, 600, 600, 200, True, False, [], stats)
    feature = OnlineIvectorFeature(model, base, cmvn, 0.0, 0.0, 0.0, np.zeros(2), np.array([1.0, 0.0, 1.0]))
    add = lambda: feature.add(None, 0, 4000, True)  # noqa: E731
    assert errors_of_two_threads(add, feature.stats)[0] in {
        "the i-vector feature is being changed by another thread",
        "the i-vector feature is used by another thread",
    }
    errors = errors_of_two_threads(add, lambda: base.append(ones[:1]))
    assert errors[0] in {
        "the frame buffer is being changed by another thread",
        "the frame buffer is used by another thread",
    }

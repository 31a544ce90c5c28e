"""How a decoder behaves at its limits: options, bad input, dead ends, wrong order of calls, threads."""

import itertools
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pykaldi_server.errors import ConfigError, DecoderError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import StdArc, StdConstFst, StdVectorFst, read_decoding_graph
from pykaldi_server.kaldi.util.options import ParseOptions

ID2PDF = np.array([-1, 0, 1], np.int32)
EVEN = np.zeros((1, 2), np.float32)


def graph(*arcs: tuple[int, int, int, float, int], finals: dict[int, float] | None = None) -> StdConstFst:
    """A graph of arcs (from, ilabel, olabel, cost, to) that starts in state 0."""
    fst = StdVectorFst()
    for _ in range(1 + max(max(arc[0], arc[4]) for arc in arcs)):
        fst.add_state()
    fst.set_start(0)
    for source, ilabel, olabel, cost, target in arcs:
        fst.add_arc(source, StdArc(ilabel, olabel, cost, target))
    for state, cost in (finals or {}).items():
        fst.set_final(state, cost)
    return StdConstFst(fst)


LOOP = graph((0, 1, 7, 0.5, 0), (0, 2, 8, 1.0, 0), finals={0: 0.25})


def decoder_of(fst: StdConstFst, **options: Any) -> LatticeFasterOnlineDecoder:
    return LatticeFasterOnlineDecoder(fst, LatticeFasterDecoderOptions(**options), ID2PDF)


def test_options_have_kaldis_names_and_defaults() -> None:
    options = LatticeFasterDecoderOptions()
    parser = ParseOptions()
    options.register(parser)
    assert {"beam", "max-active", "min-active", "lattice-beam", "prune-interval"} <= set(parser.names())
    parser.set("max-active", "7000", "here")
    assert (options.beam, options.max_active, options.lattice_beam) == (16.0, 7000, 10.0)
    options.validate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("beam", value) for value in (0.0, -1.0, math.nan)],
        *[("max_active", 1), ("min_active", -1), ("min_active", 3)],
        *[("lattice_beam", value) for value in (0.0, math.inf, 1e300)],  # the core has single precision
        *[
            ("prune_interval", 0),
            ("beam_delta", 0.0),
            ("hash_ratio", 0.5),
            ("hash_ratio", 1001.0),
            ("prune_scale", 1.0),
        ],
    ],
)
def test_options_that_make_no_sense(name: str, value: float) -> None:
    options = LatticeFasterDecoderOptions(max_active=2, min_active=1)
    setattr(options, name, value)
    with pytest.raises(ConfigError, match=f"{name}: expected .* found"):
        options.validate()
    with pytest.raises(ConfigError, match=name):
        LatticeFasterOnlineDecoder(LOOP, options, ID2PDF)


def test_the_model_must_have_the_graphs_transition_ids() -> None:
    with pytest.raises(ConfigError, match="transition-id 2, but the model has only those below 2"):
        LatticeFasterOnlineDecoder(LOOP, LatticeFasterDecoderOptions(), ID2PDF[:2])
    with pytest.raises(ConfigError, match="transition-id 1: expected a pdf below 16777216, found -5"):
        LatticeFasterOnlineDecoder(LOOP, LatticeFasterDecoderOptions(), np.array([-1, -5, 0], np.int32))
    with pytest.raises(ConfigError, match="no start state"):
        decoder_of(StdConstFst(StdVectorFst()))


def test_before_the_first_frame() -> None:
    decoder = decoder_of(graph((0, 0, 9, 1.0, 1), (1, 1, 0, 0.0, 1), finals={1: 0.5}))
    assert decoder.num_frames_decoded() == 0
    assert decoder.get_best_path().words.tolist() == [9]
    assert decoder.get_best_path(use_final_probs=False).words.tolist() == []
    assert decoder.final_relative_cost() == pytest.approx(1.5)
    assert decoder.traceback()[0] == 0
    assert decoder.partial_words().tolist() == []
    decoder.advance_decoding(np.zeros((0, 2), np.float32))
    assert decoder.num_frames_decoded() == 0
    decoder.finalize_decoding()
    assert decoder.get_best_path().graph_cost == pytest.approx(1.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_log_likelihoods_must_be_below_infinity(bad: float) -> None:
    decoder = decoder_of(LOOP)
    decoder.advance_decoding(EVEN)
    block = np.zeros((3, 2), np.float32)
    block[1, 1] = bad
    with pytest.raises(DecoderError, match="in frame 2, pdf 1"):
        decoder.advance_decoding(block)
    assert decoder.num_frames_decoded() == 1
    decoder.advance_decoding(EVEN)
    assert decoder.num_frames_decoded() == 2


def test_blocks_of_a_wrong_shape() -> None:
    decoder = decoder_of(LOOP)
    with pytest.raises(DecoderError, match="of 2 pdfs, found 1"):
        decoder.advance_decoding(EVEN[:, :1].copy())
    with pytest.raises(
        ValueError, match=r"axes \(frames, pdfs\), found one of float32 with the shape \(2,\)"
    ):
        decoder.advance_decoding(EVEN[0])


def test_impossible_pdfs_and_dead_ends() -> None:
    decoder = decoder_of(LOOP)
    decoder.advance_decoding(np.array([[-math.inf, -3.0]], np.float32))
    assert decoder.get_best_path().words.tolist() == [8]
    with pytest.raises(DecoderError, match="no path survives frame 1"):
        decoder.advance_decoding(np.full((1, 2), -math.inf, np.float32))
    assert decoder.num_frames_decoded() == 1
    decoder.advance_decoding(EVEN)
    decoder.finalize_decoding()
    assert decoder.get_best_path().words.tolist() == [8, 7]


def test_a_graph_that_ends_before_the_audio_does() -> None:
    decoder = decoder_of(graph((0, 1, 5, 0.0, 1), finals={1: 0.0}))
    with pytest.raises(DecoderError, match="no path survives frame 1"):
        decoder.advance_decoding(np.zeros((3, 2), np.float32))
    assert decoder.num_frames_decoded() == 1
    decoder.finalize_decoding()
    assert decoder.get_best_path().words.tolist() == [5]


def test_without_an_active_final_state_all_ends_are_equal() -> None:
    decoder = decoder_of(graph((0, 1, 5, 0.0, 1), (1, 1, 6, 0.0, 0), finals={0: 0.0}))
    decoder.advance_decoding(EVEN)
    assert not decoder.reached_final()
    assert decoder.final_relative_cost() == math.inf
    decoder.finalize_decoding()
    assert decoder.get_best_path().words.tolist() == [5]
    assert not decoder.reached_final()


def test_the_order_of_calls() -> None:
    decoder = decoder_of(LOOP)
    decoder.advance_decoding(EVEN)
    decoder.finalize_decoding()
    for call in (decoder.finalize_decoding, decoder.traceback, decoder.partial_words):
        with pytest.raises(DecoderError, match="finalized"):
            call()
    with pytest.raises(DecoderError, match="finalized"):
        decoder.advance_decoding(EVEN)
    with pytest.raises(DecoderError, match="finalized"):
        decoder.get_best_path(use_final_probs=False)
    decoder.init_decoding()
    decoder.advance_decoding(EVEN)
    assert decoder.partial_words().tolist() == [7]


def test_silence_must_be_known_of_every_transition_id() -> None:
    decoder = decoder_of(LOOP)
    decoder.advance_decoding(EVEN)
    with pytest.raises(DecoderError, match="more than 2 transition-ids, found 2"):
        decoder.trailing_silence_length(np.zeros(2, np.uint8))


def test_cycles_of_epsilons() -> None:
    harmless = graph((0, 0, 0, 0.0, 1), (1, 0, 0, 0.0, 0), (1, 1, 5, 0.0, 0), finals={0: 0.0})
    decoder = decoder_of(harmless)
    decoder.advance_decoding(np.zeros((3, 2), np.float32))
    assert decoder.get_best_path().words.tolist() == [5, 5, 5]
    with pytest.raises(DecoderError, match="cycle of input epsilons"):
        decoder.get_raw_lattice()
    with pytest.raises(DecoderError, match="negative cost"):
        decoder_of(graph((0, 0, 0, -1.0, 0), (0, 1, 5, 0.0, 0)))


def test_costs_that_overflow() -> None:
    """Sums of finite costs may be infinite; then there is an error, never a path from nowhere."""
    huge = 3e38
    num_paths = 0
    for first, second, final, *loglikes in itertools.product([-huge, 0.0, huge], repeat=5):
        fst = graph(
            (0, 1, 5, first, 1),
            (0, 2, 0, second, 2),
            (1, 2, 0, second, 0),
            (1, 1, 0, first, 1),
            (2, 2, 7, second, 1),
            finals={1: final, 2: final},
        )
        decoder = decoder_of(fst)
        with suppress(DecoderError):
            decoder.advance_decoding(np.array([[0, loglike] for loglike in loglikes], np.float32))
        with suppress(DecoderError):
            assert len(decoder.get_best_path().alignment) == decoder.num_frames_decoded()
            assert decoder.get_raw_lattice().num_states() > decoder.num_frames_decoded()
            decoder.finalize_decoding()
            assert len(decoder.get_best_path().alignment) == decoder.num_frames_decoded()
            num_paths += 1
    assert num_paths > 100
    sums = decoder_of(graph((0, 1, 0, -huge, 0)))
    with pytest.raises(DecoderError, match="minus infinity"):
        sums.advance_decoding(np.array([[huge, 0.0]], np.float32))
    assert sums.num_frames_decoded() == 0
    ended = decoder_of(graph((0, 1, 0, -huge, 1), finals={1: -huge}))
    ended.advance_decoding(EVEN)
    with pytest.raises(DecoderError, match="final cost of state 1"):
        ended.finalize_decoding()


def test_the_better_of_parallel_arcs_is_taken() -> None:
    for costs in ([1.0, 0.5, 2.0], [0.5, 2.0, 1.0], [2.0, 1.0, 0.5]):
        decoder = decoder_of(graph(*[(0, 1, word, cost, 0) for word, cost in enumerate(costs, 1)]))
        decoder.advance_decoding(EVEN)
        assert decoder.get_best_path().words.tolist() == [1 + costs.index(0.5)]
        assert decoder.get_best_path().graph_cost == 0.5


def test_max_active_bounds_the_work_and_min_active_widens_the_beam(models: Path) -> None:
    digits = read_decoding_graph(models / "english" / "graph-digits" / "HCLG.fst")
    id2pdf = np.arange(-1, digits.max_input_label(), dtype=np.int32)
    loglikes = np.random.default_rng(0).normal(size=(30, len(id2pdf))).astype(np.float32)

    def arcs_visited(**options: Any) -> int:
        decoder = LatticeFasterOnlineDecoder(digits, LatticeFasterDecoderOptions(**options), id2pdf)
        decoder.advance_decoding(loglikes)
        return decoder.statistics().num_arcs

    wide = arcs_visited(beam=16.0)
    assert arcs_visited(beam=16.0, max_active=10, min_active=2) < 0.5 * wide
    assert arcs_visited(beam=0.1, min_active=0) < 0.5 * arcs_visited(beam=0.1, min_active=40)


def test_a_second_thread_is_refused(models: Path) -> None:
    digits = read_decoding_graph(models / "english" / "graph-digits" / "HCLG.fst")
    id2pdf = np.zeros(digits.max_input_label() + 1, np.int32)
    decoder = LatticeFasterOnlineDecoder(digits, LatticeFasterDecoderOptions(), id2pdf)
    block = np.zeros((2000, 1), np.float32)
    refusals: list[str] = []

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except DecoderError as error:
            refusals.append(str(error))

    while not refusals:  # nearly always the first round: a thread is inside the decoder for most of its life
        thread = threading.Thread(target=attempt, args=(lambda: decoder.advance_decoding(block),))
        thread.start()
        while thread.is_alive():
            attempt(decoder.num_frames_decoded)
        thread.join()
    assert all("another thread" in text for text in refusals)
    assert decoder.num_frames_decoded() % len(block) == 0

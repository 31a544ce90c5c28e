"""The whole chain, from samples to words, beside Kaldi's own program, chunk by chunk.

The loop is that of online2-wav-nnet3-latgen-faster: accept, (at the end) finish, traceback, weights, advance.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from golden_data import (
    GOLDEN_FRAMES_PER_CHUNK,
    BestPath,
    GoldenPartial,
    best_paths,
    delta_weights,
    ivector_frames,
    partials,
    read_wav,
)

from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.feat import MfccOptions
from pykaldi_server.kaldi.fstext import StdConstFst, SymbolTable, read_decoding_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetLoopedOnline,
    DecodableNnetSimpleLoopedInfo,
    NnetSimpleLoopedComputationOptions,
)
from pykaldi_server.kaldi.online2 import (
    OnlineIvectorExtractionConfig,
    OnlineIvectorExtractionInfo,
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
    OnlineSilenceWeighting,
    OnlineSilenceWeightingConfig,
)
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import read_options

# Our own i-vectors differ from Kaldi's by rounding, which the network passes on.
LOGLIKES_TOLERANCE = 1e-2
# Costs are sums over hundreds of frames of values that agree to LOGLIKES_TOLERANCE.
COST_TOLERANCE = 1e-3
WEIGHT_TOLERANCE = 1e-6
SUBSAMPLING = 3
CHUNK_S = {"digits": 0.18, "digits-005": 0.05}


@dataclass(frozen=True)
class Chain:
    """A model, as its parts."""

    features: OnlineNnetFeaturePipelineInfo
    transition_model: TransitionModel
    network: DecodableNnetSimpleLoopedInfo
    graph: StdConstFst
    words: SymbolTable
    decoder_opts: LatticeFasterDecoderOptions


@pytest.fixture(scope="module")
def chain(models: Path) -> Chain:
    model = models / "english"
    folder = model / "ivector"
    config = OnlineIvectorExtractionConfig(
        lda_mat_rxfilename=str(folder / "final.mat"),
        global_cmvn_stats_rxfilename=str(folder / "global_cmvn.stats"),
        splice_config_rxfilename=str(folder / "splice.conf"),
        cmvn_config_rxfilename=str(folder / "online_cmvn.conf"),
        diag_ubm_rxfilename=str(folder / "final.dubm"),
        ivector_extractor_rxfilename=str(folder / "final.ie"),
        max_count=100.0,
    )
    reader = KaldiReader.open(model / "am" / "final.mdl")
    transition_model = TransitionModel.read(reader)
    decodable_opts = NnetSimpleLoopedComputationOptions(
        acoustic_scale=1.0,
        frame_subsampling_factor=SUBSAMPLING,
        frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK,
    )
    return Chain(
        features=OnlineNnetFeaturePipelineInfo(
            feature_opts=read_options(MfccOptions, model / "conf" / "mfcc.conf"),
            ivector_extractor_info=OnlineIvectorExtractionInfo.from_config(config),
            silence_weighting_config=OnlineSilenceWeightingConfig("1:2:3:4:5:6:7:8:9:10", 0.001),
        ),
        transition_model=transition_model,
        network=DecodableNnetSimpleLoopedInfo(decodable_opts, AmNnetSimple.read(reader)),
        graph=read_decoding_graph(model / "graph-digits" / "HCLG.fst"),
        words=SymbolTable.read_text(str(model / "graph-digits" / "words.txt")),
        decoder_opts=LatticeFasterDecoderOptions(
            beam=13.0, lattice_beam=6.0, max_active=7000, min_active=200
        ),
    )


@dataclass
class Trace:
    """What happened while one recording was decoded."""

    partials: list[tuple[int, BestPath | None]] = field(default_factory=list)
    deltas: list[list[tuple[int, float]]] = field(default_factory=list)
    loglikes: list[np.ndarray] = field(default_factory=list)
    ivector_frames: list[int] = field(default_factory=list)
    best: BestPath | None = None


def best_path(chain: Chain, decoder: LatticeFasterOnlineDecoder, use_final_probs: bool) -> BestPath:
    path = decoder.get_best_path(use_final_probs)
    words = [chain.words.find_symbol(word) for word in path.words.tolist()]
    return BestPath(path.graph_cost, path.acoustic_cost, words, path.alignment.tolist())


def decode(chain: Chain, wav: Path, chunk_s: float) -> Trace:
    rate_hz, samples = read_wav(wav)
    pipeline = OnlineNnetFeaturePipeline(chain.features)
    ivectors = pipeline.ivector_feature()
    assert ivectors is not None
    decodable = DecodableNnetLoopedOnline(chain.network, pipeline.input_feature(), ivectors)
    decoder = LatticeFasterOnlineDecoder(chain.graph, chain.decoder_opts, chain.transition_model.id2pdf)
    decoder.init_decoding()
    weighting = OnlineSilenceWeighting(
        chain.transition_model, chain.features.silence_weighting_config, SUBSAMPLING
    )
    frames_per_chunk = chain.network.frames_per_chunk // SUBSAMPLING
    trace = Trace()
    step = int(rate_hz * chunk_s)
    for begin in range(0, len(samples), step):
        end = min(begin + step, len(samples))
        pipeline.accept_waveform(rate_hz, samples[begin:end])
        if end == len(samples):
            pipeline.input_finished()
        weighting.compute_current_traceback(decoder)
        deltas = weighting.get_delta_weights(pipeline.num_frames_ready())
        pipeline.update_frame_weights(deltas)
        loglikes = decodable.advance()
        decoder.advance_decoding(loglikes)
        trace.deltas.append(list(zip(deltas.frames.tolist(), deltas.deltas.tolist(), strict=True)))
        trace.loglikes.append(loglikes)
        chunks = -(-len(loglikes) // frames_per_chunk)
        trace.ivector_frames += chunks * [ivectors.num_frames_ready() - 1]
        frames = decoder.num_frames_decoded()
        trace.partials.append((frames, best_path(chain, decoder, False) if frames else None))
    decoder.finalize_decoding()
    trace.best = best_path(chain, decoder, True)
    return trace


def same_path(found: BestPath | None, expected: BestPath) -> bool:
    if found is None:
        return False
    costs = found.graph_cost, found.acoustic_cost
    return found.words == expected.words and costs == pytest.approx(
        (expected.graph_cost, expected.acoustic_cost), rel=COST_TOLERANCE, abs=COST_TOLERANCE
    )


def check(folder: Path, wav: Path, chain: Chain) -> int:
    """Compares every recording of a folder; returns how many there were."""
    expected_paths = best_paths(folder / "best_path.txt")
    expected_partials = partials(folder / "partials.txt.gz")
    expected_deltas = delta_weights(folder / "delta_weights.txt.gz")
    for name, best in expected_paths.items():
        trace = decode(chain, wav / f"{name}.wav", CHUNK_S[folder.name])
        assert same_path(trace.best, best), name
        assert trace.best is not None
        assert trace.best.alignment == best.alignment, name
        check_partials(name, trace, expected_partials[name])
        check_deltas(name, trace, [pairs for _, pairs in expected_deltas[name]])
    return len(expected_paths)


def check_partials(name: str, trace: Trace, expected: list[GoldenPartial]) -> None:
    assert len(trace.partials) == len(expected), name
    for (frames, found), partial in zip(trace.partials, expected, strict=True):
        assert frames == partial.frames, name
        if partial.path is not None:
            assert same_path(found, partial.path), (name, frames)


def check_deltas(name: str, trace: Trace, expected: list[list[tuple[int, float]]]) -> None:
    assert len(trace.deltas) == len(expected), name
    for step, (found, pairs) in enumerate(zip(trace.deltas, expected, strict=True)):
        assert [frame for frame, _ in found] == [frame for frame, _ in pairs], (name, step)
        values = np.array([delta for _, delta in found]) - [delta for _, delta in pairs]
        assert np.abs(values).max(initial=0.0) < WEIGHT_TOLERANCE, (name, step)


@pytest.mark.parametrize("folder", sorted(CHUNK_S))
def test_golden(golden: Path, chain: Chain, folder: str) -> None:
    assert check(golden / folder, golden / "wav", chain) == 14


@pytest.mark.parametrize("folder", sorted(CHUNK_S))
def test_all_golden(shared_golden: Path, chain: Chain, folder: str) -> None:
    recordings = check(shared_golden / folder, shared_golden / "wav", chain)
    assert recordings == {"digits": 40, "digits-005": 14}[folder]


def check_loglikes(folder: Path, wav: Path, chain: Chain) -> None:
    expected = np.load(folder / "loglikes.npz")
    frames = ivector_frames(folder / "ivector_frames.txt")
    for name in expected.files:
        trace = decode(chain, wav / f"{name}.wav", CHUNK_S[folder.name])
        assert trace.ivector_frames == frames[name], name
        # The last chunk is computed in full; Kaldi's file ends with the recording.
        found = np.vstack(trace.loglikes)[: len(expected[name])]
        assert found.shape == expected[name].shape, name
        assert np.abs(found - expected[name]).max() < LOGLIKES_TOLERANCE, name


@pytest.mark.parametrize("folder", sorted(CHUNK_S))
def test_golden_loglikes_with_our_own_ivectors(golden: Path, chain: Chain, folder: str) -> None:
    check_loglikes(golden / folder, golden / "wav", chain)


@pytest.mark.parametrize("folder", sorted(CHUNK_S))
def test_all_golden_loglikes_with_our_own_ivectors(shared_golden: Path, chain: Chain, folder: str) -> None:
    check_loglikes(shared_golden / folder, shared_golden / "wav", chain)

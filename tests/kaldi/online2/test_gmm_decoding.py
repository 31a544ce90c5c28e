"""Online GMM decoding with basis fMLLR against Kaldi's online2-wav-gmm-latgen-faster."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from golden_data import BestPath, best_paths, lines, parse_best_path, read_wav

from pykaldi_server.errors import AdaptationStateError, ConfigError, DecoderError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions
from pykaldi_server.kaldi.fstext import StdConstFst, SymbolTable
from pykaldi_server.kaldi.fstext.utils import read_decoding_graph
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import compact_lattice_shortest_path, get_linear_symbol_sequence
from pykaldi_server.kaldi.online2.endpoint import OnlineEndpointConfig
from pykaldi_server.kaldi.online2.feature_pipeline import (
    OnlineFeaturePipeline,
    OnlineFeaturePipelineConfig,
    OnlineFeaturePipelineInfo,
)
from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
from pykaldi_server.kaldi.online2.gmm_decoding import SingleUtteranceGmmDecoder
from pykaldi_server.kaldi.online2.gmm_models import OnlineGmmDecodingConfig, OnlineGmmDecodingModels
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import ParseOptions

CHUNK_S = 0.05
ACOUSTIC_SCALE = 0.0769


@dataclass(frozen=True)
class Recogniser:
    """Everything that utterances share."""

    config: OnlineGmmDecodingConfig
    models: OnlineGmmDecodingModels
    prototype: OnlineFeaturePipeline
    fst: StdConstFst
    words: SymbolTable

    def decoder(self, state: OnlineGmmAdaptationState | None = None) -> SingleUtteranceGmmDecoder:
        return SingleUtteranceGmmDecoder(
            self.config, self.models, self.prototype, self.fst, state or OnlineGmmAdaptationState()
        )

    def text(self, words: list[int]) -> list[str]:
        return [self.words.find_symbol(word) for word in words]


@pytest.fixture(scope="module")
def recogniser(models: Path) -> Recogniser:
    folder = models / "english-gmm"
    config, features = OnlineGmmDecodingConfig(), OnlineFeaturePipelineConfig()
    parser = ParseOptions()
    parser.register(config)
    parser.register(features)
    parser.register(OnlineEndpointConfig())
    parser.read_config_file(folder / "conf/online_decoding.conf", folder)
    config.acoustic_scale = ACOUSTIC_SCALE
    config.faster_decoder_opts = LatticeFasterDecoderOptions(beam=13.0, lattice_beam=6.0, max_active=7000)
    info = OnlineFeaturePipelineInfo.from_config(features, folder)
    return Recogniser(
        config,
        OnlineGmmDecodingModels(config),
        OnlineFeaturePipeline(info),
        read_decoding_graph(folder / "graph-digits/HCLG.fst"),
        SymbolTable.read_text(str(folder / "graph-digits/words.txt")),
    )


@dataclass(frozen=True)
class Partial:
    """The best path after a chunk, and whether a transform was in use."""

    samples: int
    transformed: bool
    path: BestPath | None


def golden_partials(path: Path) -> dict[str, list[Partial]]:
    found: dict[str, list[Partial]] = {}
    for name, samples, transformed, *rest in lines(path):
        best = parse_best_path(rest) if rest else None
        found.setdefault(name, []).append(Partial(int(samples), transformed == "1", best))
    return found


def feed(decoder: SingleUtteranceGmmDecoder, rate_hz: int, samples: np.ndarray) -> Iterator[int]:
    """Decodes chunk by chunk; yields the number of samples accepted so far."""
    chunk_samples = int(rate_hz * CHUNK_S)
    for begin in range(0, len(samples), chunk_samples):
        end = min(begin + chunk_samples, len(samples))
        decoder.feature_pipeline().accept_waveform(rate_hz, samples[begin:end])
        if end == len(samples):
            decoder.feature_pipeline().input_finished()
        decoder.advance_decoding()
        yield end


def finish(decoder: SingleUtteranceGmmDecoder) -> CompactLatticeVectorFst:
    """What Kaldi's program does at the end of an utterance."""
    decoder.finalize_decoding()
    decoder.estimate_fmllr(end_of_utterance=True)
    return decoder.get_lattice(rescore_if_needed=True, end_of_utterance=True)


def close(found: float, expected: float) -> bool:
    """Costs agree to a part in a thousand, and mostly to a part in a million.

    Recordings with digital silence (so0044-000440049) are the exception: cepstra of frames that are all but
    zero are the logarithms of rounding errors, and the transforms are made from these frames, too.
    """
    return abs(found - expected) <= 1e-3 * max(1.0, abs(expected))


def check_recording(
    recogniser: Recogniser,
    folder: Path,
    name: str,
    expected: BestPath,
    partials: list[Partial],
    state: OnlineGmmAdaptationState | None,
) -> SingleUtteranceGmmDecoder:
    rate_hz, samples = read_wav(folder.parent.parent / f"wav/{name}.wav")
    decoder = recogniser.decoder(state)
    for accepted, partial in zip(feed(decoder, rate_hz, samples), partials, strict=True):
        assert (accepted, decoder.have_transform()) == (partial.samples, partial.transformed), name
        if partial.path is not None:
            best = decoder.get_best_path(end_of_utterance=False)
            assert recogniser.text(best.words.tolist()) == partial.path.words, (name, accepted)
            cost = best.graph_cost + best.acoustic_cost
            assert close(cost, partial.path.graph_cost + partial.path.acoustic_cost), (name, accepted)
    lattice = compact_lattice_shortest_path(finish(decoder))
    alignment, words, weight = get_linear_symbol_sequence(lattice)
    assert recogniser.text(words) == expected.words, name
    assert alignment == expected.alignment, name
    assert close(weight.value1, expected.graph_cost), name
    assert close(weight.value2, expected.acoustic_cost), name
    return decoder


def check_state(found: OnlineGmmAdaptationState, path: Path) -> None:
    """Compares with a state that Kaldi wrote, in single precision and six digits."""
    expected = OnlineGmmAdaptationState.read(KaldiReader(gzip.decompress(path.read_bytes()), path))
    assert found.transform is not None
    assert expected.transform is not None
    assert found.spk_stats is not None
    assert expected.spk_stats is not None
    np.testing.assert_allclose(found.transform, expected.transform, atol=1e-4)
    np.testing.assert_allclose(found.spk_stats.beta, expected.spk_stats.beta, rtol=1e-4)
    scale = np.abs(expected.spk_stats.K).max()
    np.testing.assert_allclose(found.spk_stats.K, expected.spk_stats.K, atol=1e-4 * scale)
    np.testing.assert_allclose(found.spk_stats.G, expected.spk_stats.G, rtol=1e-2, atol=1e-4 * scale)
    for name in ("speaker_cmvn_stats", "global_cmvn_stats", "frozen_state"):
        wanted = getattr(expected.cmvn_state, name)
        assert getattr(found.cmvn_state, name).shape == wanted.shape
        if wanted.size:
            np.testing.assert_allclose(getattr(found.cmvn_state, name)[0], wanted[0], rtol=1e-4, atol=0.1)


def check_folder(recogniser: Recogniser, folder: Path, returning: bool) -> int:
    expected = best_paths(folder / "best_path.txt")
    partials = golden_partials(folder / "partials.txt.gz")
    adapted = folder / "features_adapted.npz"
    features = dict(np.load(adapted)) if adapted.exists() else {}
    state, speaker = OnlineGmmAdaptationState(), ""
    for name, path in expected.items():
        if not returning or name.rsplit("-", 1)[0] != speaker:
            state, speaker = OnlineGmmAdaptationState(), name.rsplit("-", 1)[0]
        decoder = check_recording(recogniser, folder, name, path, partials[name], state)
        state = decoder.get_adaptation_state()
        golden_state = folder / f"{name}.adaptation.txt.gz"
        if golden_state.exists():
            check_state(state, golden_state)
        if name in features:
            found = decoder.feature_pipeline().get_frames(0, len(features[name]))
            # Features agree to 1e-3; the transform is a sum over 41 of them.
            np.testing.assert_allclose(found, features[name], atol=1e-3)
    return len(expected)


@pytest.mark.parametrize("folder", ["fresh", "returning"])
def test_golden_recordings(recogniser: Recogniser, golden: Path, folder: str) -> None:
    assert check_folder(recogniser, golden / "gmm" / folder, folder == "returning") >= 10


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["fresh", "returning"])
def test_all_golden_recordings(recogniser: Recogniser, shared_golden: Path, folder: str) -> None:
    assert check_folder(recogniser, shared_golden / "gmm" / folder, folder == "returning") >= 14


@pytest.fixture(scope="module")
def samples(golden: Path) -> np.ndarray:
    return read_wav(golden / "wav/ps-tidigits-2934z.wav")[1]


def test_digital_silence_at_the_end(recogniser: Recogniser, samples: np.ndarray) -> None:
    """No transform learns from the equal frames at the end; with all of them but one, the cost is 2503.54."""
    decoder = recogniser.decoder()
    for _ in feed(decoder, 16000, np.concatenate([samples, np.zeros(8000, np.float32)])):
        pass
    _, words, weight = get_linear_symbol_sequence(compact_lattice_shortest_path(finish(decoder)))
    assert recogniser.text(words) == ["two", "nine", "three", "four", "zero"]
    kaldis = 2631.76  # online2-wav-gmm-latgen-faster with the same options
    assert close(weight.value1 + weight.value2, kaldis)


def test_a_state_of_kaldis_goes_on_with_the_next_utterance(
    recogniser: Recogniser, golden: Path, samples: np.ndarray
) -> None:
    path = golden / "gmm/fresh/ps-tidigits-2934z.adaptation.txt.gz"
    state = OnlineGmmAdaptationState.read(KaldiReader(gzip.decompress(path.read_bytes()), path))
    decoder = recogniser.decoder(state)
    assert decoder.have_transform()
    for _ in feed(decoder, 16000, samples):
        pass
    finish(decoder)
    after = decoder.get_adaptation_state()
    assert after.spk_stats is not None
    assert state.spk_stats is not None
    assert after.spk_stats.beta > 1.8 * state.spk_stats.beta
    assert after.transform is not state.transform


def test_estimating_twice_counts_nothing_twice(recogniser: Recogniser, samples: np.ndarray) -> None:
    decoder = recogniser.decoder()
    for _ in feed(decoder, 16000, samples):
        pass
    decoder.finalize_decoding()
    decoder.estimate_fmllr(end_of_utterance=True)
    before = decoder.get_adaptation_state().spk_stats
    decoder.estimate_fmllr(end_of_utterance=True)
    # The posteriors are those of another transform, but there are no more frames.
    after = decoder.get_adaptation_state().spk_stats
    assert before is not None
    assert after is not None
    assert after.beta == pytest.approx(before.beta, rel=0.02)


def test_without_rescoring_the_lattice_has_the_scores_of_the_search(
    recogniser: Recogniser, samples: np.ndarray
) -> None:
    decoder = recogniser.decoder()
    for _ in feed(decoder, 16000, samples):
        pass
    decoder.finalize_decoding()
    best = decoder.get_best_path(end_of_utterance=True)
    lattice = decoder.get_lattice(rescore_if_needed=False, end_of_utterance=True)
    alignment, words, weight = get_linear_symbol_sequence(compact_lattice_shortest_path(lattice))
    assert (words, alignment) == (best.words.tolist(), best.alignment.tolist())
    assert weight.value1 + weight.value2 == pytest.approx(best.graph_cost + best.acoustic_cost, rel=1e-5)


def test_silence_ends_an_utterance(recogniser: Recogniser, samples: np.ndarray) -> None:
    config = OnlineEndpointConfig(silence_phones="1:2:3:4:5:6:7:8:9:10")
    decoder = recogniser.decoder()
    assert not decoder.endpoint_detected(config)
    padded = np.concatenate([samples, np.zeros(32000, np.float32)])
    ended = [end for end in feed(decoder, 16000, padded) if decoder.endpoint_detected(config)]
    assert len(samples) < ended[0] < len(padded)


def test_nothing_to_adapt_to_before_the_first_frame(recogniser: Recogniser) -> None:
    decoder = recogniser.decoder()
    decoder.advance_decoding()
    decoder.estimate_fmllr(end_of_utterance=False)
    assert not decoder.have_transform()
    assert decoder.get_adaptation_state().transform is None


def test_a_state_of_other_features_is_refused(recogniser: Recogniser) -> None:
    state = OnlineGmmAdaptationState(transform=np.eye(39, 40, dtype=np.float32))
    with pytest.raises(AdaptationStateError, match="expected a transform of 40 x 41"):
        recogniser.decoder(state)


def test_without_a_basis_nothing_is_estimated(
    models: Path, recogniser: Recogniser, samples: np.ndarray
) -> None:
    config = OnlineGmmDecodingConfig(model_rxfilename=str(models / "english-gmm/final.oalimdl"))
    config.acoustic_scale = ACOUSTIC_SCALE
    plain = Recogniser(
        config, OnlineGmmDecodingModels(config), recogniser.prototype, recogniser.fst, recogniser.words
    )
    decoder = plain.decoder()
    for _ in feed(decoder, 16000, np.concatenate([samples, samples])):
        pass
    assert not decoder.have_transform()
    with pytest.raises(ConfigError, match="fmllr-basis: expected a file"):
        decoder.estimate_fmllr(end_of_utterance=True)


def test_nothing_is_decoded_after_the_end(recogniser: Recogniser, samples: np.ndarray) -> None:
    decoder = recogniser.decoder()
    decoder.feature_pipeline().accept_waveform(16000, samples)
    decoder.advance_decoding()
    decoder.finalize_decoding()
    decoder.feature_pipeline().input_finished()
    with pytest.raises(DecoderError):
        decoder.advance_decoding()

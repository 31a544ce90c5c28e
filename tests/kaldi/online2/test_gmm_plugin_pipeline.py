"""The features and endpoints of the original's GMM plugin, by their definition."""

from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.feat import MfccOptions, OnlineMatrixFeature, OnlineMfcc
from pykaldi_server.kaldi.feat.online_feature import read_transform
from pykaldi_server.kaldi.fstext import SymbolTable
from pykaldi_server.kaldi.fstext.utils import read_decoding_graph
from pykaldi_server.kaldi.online2 import DecodableDiagGmmScaledOnline
from pykaldi_server.kaldi.online2.gmm_models import read_gmm
from pykaldi_server.kaldi.online2.gmm_plugin_pipeline import (
    GmmPluginOptions,
    GmmPluginPipeline,
    OnlineSlidingCmn,
)
from pykaldi_server.kaldi.util.io import KaldiReader


def normalized_by_definition(frames: np.ndarray, window: int, min_window: int) -> np.ndarray:
    start = min(min_window, len(frames))
    expected = np.empty_like(frames)
    for t in range(len(frames)):
        past = frames[:start] if t < start else frames[max(0, t - window) : t]
        expected[t] = frames[t] - past.mean(axis=0)
    return expected


@pytest.mark.parametrize("num_frames", [5, 10, 11, 40, 41, 150])
@pytest.mark.parametrize("block_frames", [1, 7, 200])
def test_the_running_mean(num_frames: int, block_frames: int) -> None:
    frames = np.random.default_rng(num_frames).normal(3, 2, size=(num_frames, 2)).astype(np.float32)
    cmn = OnlineSlidingCmn(OnlineMatrixFeature(frames), cmn_window=40, min_window=10, history=50)
    assert cmn.num_frames_ready() == num_frames
    blocks = [
        cmn.get_frames(begin, min(begin + block_frames, num_frames))
        for begin in range(0, num_frames, block_frames)
    ]
    expected = normalized_by_definition(frames, 40, 10)
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-5)


def test_nothing_is_ready_before_the_least_window_is_full(golden: Path) -> None:
    samples = read_wav(golden / "wav/ps-tidigits-2934z.wav")[1]
    pipeline = GmmPluginPipeline(GmmPluginOptions())
    pipeline.accept_waveform(16000, samples[:16000])
    assert pipeline.num_frames_ready() == 0
    pipeline.accept_waveform(16000, samples[16000:16240])
    assert pipeline.num_frames_ready() == 100 - 4
    short = GmmPluginPipeline(GmmPluginOptions())
    short.accept_waveform(16000, samples[:8000])
    short.input_finished()
    assert short.num_frames_ready() == 48
    assert short.is_last_frame(47)


def test_lda_features_of_a_recording(golden: Path, models: Path) -> None:
    samples = read_wav(golden / "wav/ps-librivox-0870.wav")[1]
    lda = read_transform(KaldiReader.open(models / "english-gmm/final.mat"))
    options = GmmPluginOptions(left_context=3, right_context=3)
    pipeline = GmmPluginPipeline(options, lda)
    blocks, taken = [], 0
    for begin in range(0, len(samples), 4000):
        pipeline.accept_waveform(16000, samples[begin : begin + 4000])
        if begin + 4000 >= len(samples):
            pipeline.input_finished()
        ready = pipeline.num_frames_ready()
        blocks.append(pipeline.get_frames(taken, ready))
        taken = ready
    mfcc_options = MfccOptions(use_energy=False)
    mfcc_options.frame_opts.dither = 0.0
    mfcc = OnlineMfcc(mfcc_options)
    mfcc.accept_waveform(16000, samples)
    mfcc.input_finished()
    cepstra = normalized_by_definition(mfcc.get_frames(0, mfcc.num_frames_ready()), 600, 100)
    padded = np.pad(cepstra, ((3, 3), (0, 0)), mode="edge")
    spliced = np.hstack([padded[i : i + len(cepstra)] for i in range(7)])
    np.testing.assert_allclose(np.concatenate(blocks), spliced @ lda.T, atol=1e-3)


def test_without_lda_two_derivatives_are_appended() -> None:
    assert GmmPluginPipeline(GmmPluginOptions()).dim() == 39


def test_an_hour_keeps_little(golden: Path) -> None:
    samples = read_wav(golden / "wav/ps-librivox-0870.wav")[1]
    pipeline = GmmPluginPipeline(GmmPluginOptions())
    taken = 0
    for _ in range(10):
        pipeline.accept_waveform(16000, samples)
        pipeline.get_frames(taken, pipeline.num_frames_ready())
        taken = pipeline.num_frames_ready()
    assert taken > 7000
    with pytest.raises(IndexError, match="which are kept, found 0 to 5"):
        pipeline.get_frames(0, 1)


@pytest.mark.parametrize(
    ("num_frames_decoded", "trailing_silence_frames", "ended"),
    [
        (500, 49, False),
        (500, 50, True),
        (1500, 24, False),
        (1500, 25, True),
        (27, 27, True),
        (27, 26, False),
        (0, 0, False),
        (75000, 0, True),
    ],
)
def test_the_longer_an_utterance_the_less_silence_ends_it(
    num_frames_decoded: int, trailing_silence_frames: int, ended: bool
) -> None:
    assert GmmPluginOptions().end_of_utterance(num_frames_decoded, trailing_silence_frames) == ended


def test_digits_are_recognised_by_a_speaker_independent_model(golden: Path, models: Path) -> None:
    folder = models / "english-gmm"
    trans_model, model = read_gmm(folder / "final.oalimdl")
    options = GmmPluginOptions(left_context=3, right_context=3)
    lda = read_transform(KaldiReader.open(folder / "final.mat"))
    pipeline = GmmPluginPipeline(options, lda)
    decodable = DecodableDiagGmmScaledOnline(model, options.acoustic_scale, pipeline)
    fst = read_decoding_graph(folder / "graph-digits/HCLG.fst")
    decoder = LatticeFasterOnlineDecoder(fst, LatticeFasterDecoderOptions(), trans_model.id2pdf)
    is_silence = np.isin(trans_model.id2phone, range(1, 11)).astype(np.uint8)
    samples = read_wav(golden / "wav/ps-tidigits-2934z.wav")[1]
    silence = np.random.default_rng(0).normal(scale=5, size=32000)
    samples = np.concatenate([samples, silence, samples, silence])
    words = SymbolTable.read_text(str(folder / "graph-digits/words.txt"))
    utterances: list[list[str]] = []
    first_frame = 0
    for begin in range(0, len(samples), 4320):  # 27 frames, the plugin's batch
        pipeline.accept_waveform(16000, samples[begin : begin + 4320])
        ready = decodable.num_frames_ready()
        decoder.advance_decoding(decodable.log_likelihoods(first_frame + decoder.num_frames_decoded(), ready))
        silence_frames = decoder.trailing_silence_length(is_silence)
        if options.end_of_utterance(decoder.num_frames_decoded(), silence_frames):
            best = decoder.get_best_path(use_final_probs=True)
            utterances.append([words.find_symbol(word) for word in best.words])
            first_frame = ready
            decoder.init_decoding()
    digits = ["two", "nine", "three", "four", "zero"]
    assert [utterance for utterance in utterances if utterance] == [digits, digits]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="min-cmn-window, cmn-window"):
        GmmPluginPipeline(GmmPluginOptions(cmn_window=50))
    with pytest.raises(ConfigError, match="left-context, right-context"):
        GmmPluginPipeline(GmmPluginOptions(left_context=-1))
    with pytest.raises(ConfigError, match="inter-utt-sil"):
        GmmPluginPipeline(GmmPluginOptions(inter_utt_sil=0))
    with pytest.raises(ConfigError, match="delta-window"):
        GmmPluginPipeline(GmmPluginOptions(left_context=1))
    with pytest.raises(ModelFormatError, match="lda-mat: expected a transform with 117 or 118 columns"):
        GmmPluginPipeline(GmmPluginOptions(), np.zeros((40, 91), np.float32))

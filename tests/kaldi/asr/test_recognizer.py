"""PyKaldi's recogniser: whole recordings, live pieces, endpoints, and calls in the wrong order."""

from pathlib import Path

import numpy as np
import pytest
from golden_data import best_paths, read_wav

from pykaldi_server.errors import DecoderError
from pykaldi_server.kaldi.asr import NnetLatticeFasterOnlineRecognizer
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions
from pykaldi_server.kaldi.nnet3 import NnetSimpleLoopedComputationOptions
from pykaldi_server.kaldi.online2 import (
    OnlineEndpointConfig,
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
)
from pykaldi_server.session import Model
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics


@pytest.fixture(scope="module")
def features(models: Path) -> OnlineNnetFeaturePipelineInfo:
    acoustics = Model.load(models / "english:graph-digits").acoustics
    assert isinstance(acoustics, Nnet3Acoustics)
    return acoustics.features


@pytest.fixture
def recognizer(models: Path) -> NnetLatticeFasterOnlineRecognizer:
    folder = models / "english"
    return NnetLatticeFasterOnlineRecognizer.from_files(
        folder / "am" / "final.mdl",
        folder / "graph-digits" / "HCLG.fst",
        folder / "graph-digits" / "words.txt",
        decoder_opts=LatticeFasterDecoderOptions(beam=13.0, lattice_beam=6.0, max_active=7000),
        decodable_opts=NnetSimpleLoopedComputationOptions(acoustic_scale=1.0, frame_subsampling_factor=3),
        endpoint_opts=OnlineEndpointConfig(silence_phones="1:2:3:4:5:6:7:8:9:10"),
    )


def test_live_pieces_and_output(
    golden: Path, recognizer: NnetLatticeFasterOnlineRecognizer, features: OnlineNnetFeaturePipelineInfo
) -> None:
    rate_hz, samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")
    pipeline = OnlineNnetFeaturePipeline(features)
    recognizer.set_input_pipeline(pipeline)
    recognizer.init_decoding()
    partials = []
    for begin in range(0, len(samples), 1440):
        pipeline.accept_waveform(rate_hz, samples[begin : begin + 1440])
        recognizer.advance_decoding()
        if recognizer.decoder.num_frames_decoded():
            partials.append(recognizer.get_partial_output()["text"])
    pipeline.input_finished()
    recognizer.advance_decoding()
    recognizer.finalize_decoding()
    output = recognizer.get_output()
    expected = best_paths(golden / "digits" / "best_path.txt")["ps-tidigits-2934z"]
    assert output["text"].split() == expected.words
    assert len(output["alignment"]) == len(expected.alignment)
    assert output["likelihood"] == pytest.approx(-sum(output["weight"]))
    assert output["lattice"].num_states() > len(expected.alignment)
    assert "two nine" in partials


def test_whole_recording_at_once(
    golden: Path, recognizer: NnetLatticeFasterOnlineRecognizer, features: OnlineNnetFeaturePipelineInfo
) -> None:
    rate_hz, samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")
    pipeline = OnlineNnetFeaturePipeline(features)
    recognizer.set_input_pipeline(pipeline)
    assert not recognizer.endpoint_detected()
    pipeline.accept_waveform(rate_hz, samples)
    pipeline.input_finished()
    expected = best_paths(golden / "digits" / "best_path.txt")["ps-tidigits-2934z"]
    assert recognizer.decode()["text"].split() == expected.words


def test_endpoint_after_silence(
    golden: Path, recognizer: NnetLatticeFasterOnlineRecognizer, features: OnlineNnetFeaturePipelineInfo
) -> None:
    rate_hz, samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")
    pipeline = OnlineNnetFeaturePipeline(features)
    recognizer.set_input_pipeline(pipeline)
    recognizer.init_decoding()
    pipeline.accept_waveform(rate_hz, samples)
    recognizer.advance_decoding()
    assert not recognizer.endpoint_detected()
    pipeline.accept_waveform(rate_hz, np.zeros(4 * rate_hz, np.float32))
    recognizer.advance_decoding()
    assert recognizer.endpoint_detected()


def test_without_a_pipeline_nothing_is_decoded(recognizer: NnetLatticeFasterOnlineRecognizer) -> None:
    recognizer.init_decoding()
    with pytest.raises(DecoderError, match="expected set_input_pipeline before"):
        recognizer.advance_decoding()

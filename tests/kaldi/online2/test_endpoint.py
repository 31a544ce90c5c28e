"""Endpoint rules one by one, their options by Kaldi's names, and the detector on a decoder."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import read_decoding_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.online2 import (
    EndpointDetector,
    OnlineEndpointConfig,
    decoding_endpoint_detected,
    endpoint_detected,
)
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import ParseOptions

SILENCE = "1:2:3:4:5:6:7:8:9:10"
FRAME_SHIFT_S = 0.03


@pytest.fixture(scope="module")
def trans_model(models: Path) -> TransitionModel:
    return TransitionModel.read(KaldiReader.open(models / "english" / "am" / "final.mdl"))


@pytest.mark.parametrize(
    ("decoded", "silence", "cost", "expected"),
    [
        (500, 500, math.inf, True),  # rule 1: 5 s of nothing but silence
        (499, 499, math.inf, False),
        (200, 50, 2.0, True),  # rule 2: 0.5 s of silence after words, a very good ending
        (200, 49, 2.0, False),
        (200, 50, 2.1, False),
        (50, 50, 0.0, False),  # nothing but silence
        (300, 100, 8.0, True),  # rule 3: 1 s, a fair ending
        (300, 99, 8.0, False),
        (300, 100, 8.1, False),
        (300, 200, math.inf, True),  # rule 4: 2 s, any ending
        (300, 199, math.inf, False),
        (2000, 0, math.inf, True),  # rule 5: 20 s of anything
        (1999, 0, math.inf, False),
    ],
)
def test_default_rules(decoded: int, silence: int, cost: float, expected: bool) -> None:
    """At 10 ms a frame the limits are exactly reached, in single precision, too."""
    assert endpoint_detected(OnlineEndpointConfig(), decoded, silence, 0.01, cost) is expected


def test_options_have_kaldis_names() -> None:
    config = OnlineEndpointConfig()
    parser = ParseOptions()
    config.register(parser)
    parser.set("endpoint.silence-phones", "1:2", "here")
    parser.set("endpoint.rule1.must-contain-nonsilence", "true", "here")
    parser.set("endpoint.rule2.min-trailing-silence", "0.3", "here")
    parser.set("endpoint.rule3.max-relative-cost", "9", "here")
    parser.set("endpoint.rule5.min-utterance-length", "inf", "here")
    parser.validate("online.conf")
    assert config.silence_phones == "1:2"
    assert config.rule1.must_contain_nonsilence
    assert config.rule2.min_trailing_silence == 0.3
    assert config.rule3.max_relative_cost == 9.0
    assert config.rule4.min_trailing_silence == 2.0
    assert not endpoint_detected(config, 100000, 0, 0.01, math.inf)
    # Changes stay with their object.
    assert OnlineEndpointConfig().rule2.min_trailing_silence == 0.5


def test_silence_phones_must_be_known(trans_model: TransitionModel) -> None:
    with pytest.raises(ConfigError, match="silence-phones: expected phones, as endpointing is on"):
        EndpointDetector(OnlineEndpointConfig(), trans_model, FRAME_SHIFT_S)
    with pytest.raises(ConfigError, match="phones of the model"):
        EndpointDetector(OnlineEndpointConfig("99999"), trans_model, FRAME_SHIFT_S)
    with pytest.raises(ConfigError, match="integers"):
        OnlineEndpointConfig("1:x").validate()


def test_detector_counts_the_silence_at_the_end(golden: Path, models: Path, trans_model: Any) -> None:
    """ps-tidigits-2934z ends in silence; rule 2 applies as soon as enough of it is decoded."""
    loglikes = np.load(golden / "digits" / "loglikes.npz")["ps-tidigits-2934z"]
    graph = read_decoding_graph(models / "english" / "graph-digits" / "HCLG.fst")
    options = LatticeFasterDecoderOptions(beam=13.0, max_active=7000, lattice_beam=6.0)
    decoder = LatticeFasterOnlineDecoder(graph, options, trans_model.id2pdf)
    detector = EndpointDetector(OnlineEndpointConfig(SILENCE), trans_model, FRAME_SHIFT_S)
    silence = {int(phone) for phone in SILENCE.split(":")}
    assert not detector.detected(decoder)
    detections = []
    for frame in range(len(loglikes)):
        decoder.advance_decoding(loglikes[frame : frame + 1])
        phones = trans_model.id2phone[decoder.get_best_path(use_final_probs=False).alignment].tolist()
        trailing = next((i for i, phone in enumerate(reversed(phones)) if phone not in silence), len(phones))
        assert decoder.trailing_silence_length(detector.is_silence) == trailing
        detected = detector.detected(decoder)
        assert detected == endpoint_detected(
            OnlineEndpointConfig(), len(phones), trailing, FRAME_SHIFT_S, decoder.final_relative_cost()
        )
        detections.append(detected)
    assert (
        decoding_endpoint_detected(OnlineEndpointConfig(SILENCE), trans_model, FRAME_SHIFT_S, decoder)
        is detections[-1]
    )
    assert not detections[10]


def test_the_cost_of_ending_is_asked_for_only_where_a_rule_may_apply(trans_model: TransitionModel) -> None:
    class Decoder:
        """Counts how often it is asked for the cost."""

        silence = 0
        asked = 0

        def num_frames_decoded(self) -> int:
            return 200

        def trailing_silence_length(self, is_silence: object) -> int:
            return self.silence

        def final_relative_cost(self) -> float:
            self.asked += 1
            return 1.0

    detector, decoder = EndpointDetector(OnlineEndpointConfig(SILENCE), trans_model, 0.01), Decoder()
    for silence, detected in ((0, False), (49, False), (50, True)):
        decoder.silence = silence
        assert detector.detected(decoder) is detected
        assert decoder.asked == detected

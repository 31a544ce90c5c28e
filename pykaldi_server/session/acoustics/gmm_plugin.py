"""GMM models as the original's plugin onlinegmmdecodefaster decodes them.

Features with a sliding mean and one speaker-independent model, without adaptation. The plugin's search keeps
one best path and tunes its beam by the wall clock; ours is the lattice search with a fixed beam. Features
run on through the whole stream, and the search starts anew after each utterance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import (
    DeterminizeLatticePhonePrunedOptions,
    transition_information,
)
from pykaldi_server.kaldi.online2 import EndpointDetector
from pykaldi_server.kaldi.online2.gmm_decodable import DecodableDiagGmmScaledOnline
from pykaldi_server.kaldi.online2.gmm_plugin_pipeline import GmmPluginOptions, GmmPluginPipeline
from pykaldi_server.kaldi.util.options import Options, group, option, parse_int_list
from pykaldi_server.session.acoustics.stream import Acoustics, Stream, complete_search

_SAMPLE_RATE_HZ = 16000
_FRAME_SHIFT_S = 0.01


def _search_defaults() -> LatticeFasterDecoderOptions:
    return LatticeFasterDecoderOptions(beam=16.0, min_active=20, lattice_beam=6.0)


@dataclass
class GmmPluginDecodingOptions(Options):
    """Properties of onlinegmmdecodefaster, with its defaults."""

    features: GmmPluginOptions = group(GmmPluginOptions, prefix="")
    decoder: LatticeFasterDecoderOptions = group(_search_defaults, prefix="")
    determinizer: DeterminizeLatticePhonePrunedOptions = group(
        DeterminizeLatticePhonePrunedOptions, prefix=""
    )
    silence_phones: str = option("1:2:3:4:5", "Integers of the silence phones, between colons.")

    def validate(self) -> None:
        """Raises `ConfigError` where a value makes no sense."""
        self.features.validate()
        self.decoder.validate()
        self.determinizer.validate()
        if not parse_int_list(self.silence_phones, "silence-phones"):
            raise ConfigError("silence-phones: expected phones, found none")


class GmmPluginAcoustics(Acoustics):
    """Gaussian mixtures with features of a fixed kind."""

    sample_rate_hz = _SAMPLE_RATE_HZ
    frame_shift_s = _FRAME_SHIFT_S

    def __init__(
        self,
        transition_model: TransitionModel,
        acoustic_model: AmDiagGmm,
        lda_mat: NDArray[np.float32] | None,
        options: GmmPluginDecodingOptions,
    ):
        """Raises `ModelFormatError` where features and model do not fit together."""
        self.transition_model = transition_model
        self.acoustic_model = acoustic_model
        self.lda_mat = lda_mat
        self.options = options
        self.acoustic_scale = options.features.acoustic_scale
        self.transitions = transition_information(transition_model)
        silence = parse_int_list(options.silence_phones, "silence-phones")
        self.is_silence = np.isin(transition_model.id2phone, silence).astype(np.uint8)
        self.scorer(GmmPluginPipeline(options.features, lda_mat))

    def start(
        self, graph: DecodingGraph, endpoint: EndpointDetector | None, adaptation_state: str | None = None
    ) -> "GmmPluginStream":
        """Starts a stream; the plugin's own rule, not ``endpoint``, ends segments."""
        return GmmPluginStream(self, graph)

    def scorer(self, pipeline: GmmPluginPipeline) -> DecodableDiagGmmScaledOnline:
        """What scores the frames of a stream."""
        return DecodableDiagGmmScaledOnline(self.acoustic_model, self.acoustic_scale, pipeline)


class GmmPluginStream(Stream):
    """The state of one stream."""

    def __init__(self, acoustics: GmmPluginAcoustics, graph: DecodingGraph):
        self._acoustics = acoustics
        self._pipeline = GmmPluginPipeline(acoustics.options.features, acoustics.lda_mat)
        self._scorer = acoustics.scorer(self._pipeline)
        self._decoder = LatticeFasterOnlineDecoder(
            graph, acoustics.options.decoder, acoustics.transition_model.id2pdf
        )
        self._decoder.init_decoding()

    def accept(self, samples: NDArray[np.float32]) -> bool:
        self._pipeline.accept_waveform(_SAMPLE_RATE_HZ, samples)
        return self._advance()

    def finish(self, samples: NDArray[np.float32], new_quantum: bool = True) -> bool:
        self._pipeline.accept_waveform(_SAMPLE_RATE_HZ, samples)
        self._pipeline.input_finished()
        return self._advance()

    def num_frames_decoded(self) -> int:
        return self._decoder.num_frames_decoded()

    def endpoint_detected(self) -> bool:
        silence_frames = self._decoder.trailing_silence_length(self._acoustics.is_silence)
        return self._acoustics.options.features.end_of_utterance(self.num_frames_decoded(), silence_frames)

    def partial_words(self) -> NDArray[np.int32]:
        return self._decoder.partial_words()

    def end_segment(self) -> CompactLatticeVectorFst:
        options = self._acoustics.options
        return complete_search(self._decoder, self._acoustics.transitions, options.determinizer)

    def next_segment(self) -> None:
        self.first_frame += self.num_frames_decoded()
        self._decoder.init_decoding()

    def adaptation_state(self) -> str | None:
        return None

    def _advance(self) -> bool:
        begin = self.first_frame + self.num_frames_decoded()
        end = self._scorer.num_frames_ready()
        if end > begin:
            self._decoder.advance_decoding(self._scorer.log_likelihoods(begin, end))
        return end > begin

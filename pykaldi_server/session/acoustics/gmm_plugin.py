"""GMM models as the original's plugin onlinegmmdecodefaster decodes them.

Features with a sliding mean and one speaker-independent model, without adaptation. The plugin's search keeps
one best path and tunes its beam by the wall clock; ours is the lattice search with a fixed beam. Features
run on through the whole stream, and the search starts again after each utterance, which a rule of the
plugin's own ends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat.functions import DeterminizeLatticePhonePrunedOptions
from pykaldi_server.kaldi.online2 import OnlineEndpointConfig
from pykaldi_server.kaldi.online2.gmm_decodable import DecodableDiagGmmScaledOnline
from pykaldi_server.kaldi.online2.gmm_plugin_pipeline import GmmPluginOptions, GmmPluginPipeline
from pykaldi_server.kaldi.util.options import Options, group, option, parse_int_list
from pykaldi_server.session.acoustics.stream import Acoustics, Endpoint, Stream, StreamSetup

__all__ = ["GmmPluginAcoustics", "GmmPluginDecodingOptions", "GmmPluginEndpoint", "GmmPluginStream"]

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
        self.features.validate()
        self.decoder.validate()
        self.determinizer.validate()
        if not parse_int_list(self.silence_phones, "silence-phones"):
            raise ConfigError("silence-phones: expected phones, found none")


class GmmPluginEndpoint:
    """The plugin's rule: enough silence after an utterance, less and less of it the longer it is."""

    def __init__(self, options: GmmPluginDecodingOptions, transition_model: TransitionModel):
        """Finds the transition-ids of silence."""
        silence = parse_int_list(options.silence_phones, "silence-phones")
        self._is_silence = np.isin(transition_model.id2phone, silence).astype(np.uint8)
        self._options = options.features

    def detected(self, decoder: LatticeFasterOnlineDecoder) -> bool:
        """Whether the decoder's utterance has ended."""
        silence_frames = decoder.trailing_silence_length(self._is_silence)
        return self._options.end_of_utterance(decoder.num_frames_decoded(), silence_frames)

    def in_silence(self, decoder: LatticeFasterOnlineDecoder) -> bool:
        """Whether the best path ends in silence, however short."""
        return decoder.num_frames_decoded() > 0 and decoder.trailing_silence_length(self._is_silence) > 0


class GmmPluginAcoustics(Acoustics):
    """Gaussian mixtures with features of a fixed kind."""

    has_endpoint_rules = False

    def __init__(
        self,
        transition_model: TransitionModel,
        acoustic_model: AmDiagGmm,
        lda_mat: NDArray[np.float32] | None,
        options: GmmPluginDecodingOptions,
    ):
        """Prepares what all streams share.

        Raises:
            ModelFormatError: features and model do not fit together.
        """
        super().__init__(
            transition_model,
            options.decoder,
            options.determinizer,
            sample_rate_hz=_SAMPLE_RATE_HZ,
            frame_shift_s=_FRAME_SHIFT_S,
            acoustic_scale=options.features.acoustic_scale,
        )
        self.acoustic_model = acoustic_model
        self.lda_mat = lda_mat
        self.options = options
        self.scorer(GmmPluginPipeline(options.features, lda_mat))  # checks that the features fit

    def make_endpoint(self, rules: OnlineEndpointConfig) -> Endpoint:
        """Returns the plugin's own rule, which is not one of ``rules``."""
        return GmmPluginEndpoint(self.options, self.transition_model)

    def _start(self, setup: StreamSetup) -> "GmmPluginStream":
        return GmmPluginStream(self, setup)

    def scorer(self, pipeline: GmmPluginPipeline) -> DecodableDiagGmmScaledOnline:
        """Returns what scores the frames of a stream."""
        return DecodableDiagGmmScaledOnline(self.acoustic_model, self.acoustic_scale, pipeline)


class GmmPluginStream(Stream):
    """The state of one stream."""

    def __init__(self, acoustics: GmmPluginAcoustics, setup: StreamSetup):
        """See `Acoustics.start`."""
        super().__init__(acoustics, acoustics.make_decoder(setup), setup)
        self._pipeline = GmmPluginPipeline(acoustics.options.features, acoustics.lda_mat)
        self._scorer = acoustics.scorer(self._pipeline)

    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        self._pipeline.accept_waveform(_SAMPLE_RATE_HZ, samples)
        if last:
            self._pipeline.input_finished()

    def _advance(self, new_quantum: bool) -> bool:
        begin = self.first_frame + self.num_frames_decoded()
        end = self._scorer.num_frames_ready()
        if end > begin:
            self.decoder.advance_decoding(self._scorer.log_likelihoods(begin, end))
        return end > begin

    def _start_segment(self) -> None:
        self.decoder.init_decoding()

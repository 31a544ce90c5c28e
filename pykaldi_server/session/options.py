"""How a model is decoded: everything that is not a model file."""

import math
from dataclasses import dataclass

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions
from pykaldi_server.kaldi.lat.functions import DeterminizeLatticePhonePrunedOptions
from pykaldi_server.kaldi.nnet3 import NnetSimpleLoopedComputationOptions
from pykaldi_server.kaldi.online2 import OnlineEndpointConfig
from pykaldi_server.kaldi.util.options import Options, group, option


@dataclass
class SessionOptions(Options):
    """Options of a session; names and defaults are those of kaldi-gstreamer-server where it has them."""

    chunk_length_in_secs: float = option(
        0.05, "Audio is taken in pieces of exactly this length, however the network cuts it."
    )
    traceback_period_in_secs: float = option(0.2, "Least time from one partial result to the next.")
    do_endpointing: bool = option(True, "End segments at silence, as the endpoint rules say.")
    max_segment_length_in_secs: float = option(math.inf, "End segments at this length at the latest.")
    num_nbest: int = option(1, "Number of hypotheses of a final result.")
    decode_mbr: bool = option(
        False, "Give the words with the fewest expected errors, not the most probable sentence."
    )
    do_phone_alignment: bool = option(False, "Add phones and their times to final results.")
    min_words_for_ivector: int = option(
        2, "Words a final result needs for the adaptation state to take over what its segment taught."
    )
    lmwt_scale: float = option(1.0, "Scale of the language model's costs in final lattices.")
    inverse_scale: bool = option(False, "Undo the acoustic scale in final lattices.")

    def validate(self) -> None:
        """Raises `ConfigError` where a value makes no sense."""
        if not 0.001 <= self.chunk_length_in_secs <= 60.0:
            raise ConfigError(
                f"chunk-length-in-secs: expected 0.001 to 60, found {self.chunk_length_in_secs}"
            )
        if self.traceback_period_in_secs < 0.0 or self.max_segment_length_in_secs <= 0.0:
            raise ConfigError(
                "traceback-period-in-secs and max-segment-length-in-secs: expected positive times, found "
                f"{self.traceback_period_in_secs} and {self.max_segment_length_in_secs}"
            )
        if not 1 <= self.num_nbest <= 1000:
            raise ConfigError(f"num-nbest: expected 1 to 1000, found {self.num_nbest}")
        if self.min_words_for_ivector < 0 or self.lmwt_scale <= 0.0:
            raise ConfigError(
                "min-words-for-ivector and lmwt-scale: expected no negative number and a positive scale, "
                f"found {self.min_words_for_ivector} and {self.lmwt_scale}"
            )


@dataclass
class NetworkOptions(Options):
    """All options of a neural-network model, as a Vosk ``model.conf`` or a Kaldi ``online.conf`` has them."""

    session: SessionOptions = group(SessionOptions, prefix="")
    decoder: LatticeFasterDecoderOptions = group(LatticeFasterDecoderOptions, prefix="")
    determinizer: DeterminizeLatticePhonePrunedOptions = group(
        DeterminizeLatticePhonePrunedOptions, prefix=""
    )
    decodable: NnetSimpleLoopedComputationOptions = group(NnetSimpleLoopedComputationOptions, prefix="")
    endpoint: OnlineEndpointConfig = group(OnlineEndpointConfig, prefix="")
    pad_input: bool = option(True, "nnet2: repeat the first and last frame, so that each gets an output.")
    max_nnet_batch_size: int = option(256, "nnet2: most frames that the network computes at once.")

    def validate(self) -> None:
        """Raises `ConfigError` where a value makes no sense."""
        for part in (self.session, self.decoder, self.determinizer, self.decodable, self.endpoint):
            part.validate()

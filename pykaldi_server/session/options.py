"""How a model is decoded: everything that is not a model file."""

import math
from dataclasses import dataclass, fields

from pykaldi_server.audio.vad_options import VadOptions
from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions
from pykaldi_server.kaldi.lat.functions import DeterminizeLatticePhonePrunedOptions
from pykaldi_server.kaldi.nnet3 import NnetSimpleLoopedComputationOptions
from pykaldi_server.kaldi.online2 import OnlineEndpointConfig
from pykaldi_server.kaldi.util.options import Options, group, option

__all__ = ["NetworkOptions", "SessionOptions"]


def _of_vad(name: str) -> int:
    """Declares an option that is field ``name`` of `VadOptions`."""
    (source,) = (each for each in fields(VadOptions) if each.name == name)
    declared: int = option(source.default, source.metadata["help"])
    return declared


@dataclass
class SessionOptions(Options):
    """Options of a session.

    Names are those of kaldi-gstreamer-server where it has them, and so are defaults. Requests may change most
    of them, see `RequestOptions`.
    """

    chunk_length_in_secs: float = option(
        0.05, "Audio is decoded in pieces of exactly this length (s), however the client cuts it."
    )
    traceback_period_in_secs: float = option(
        0.2, "Shortest time between two partial results (s); shorter gives smoother text and costs CPU time."
    )
    do_endpointing: bool = option(True, "End segments at pauses, as the endpoint rules say.")
    end_at_pauses: bool = option(
        True,
        "End a segment that reaches the length of endpoint rule 5 at a pause nearby: from 85 % of that "
        "length at one of 0.2 s, from 100 % at any silence, at the latest at 125 %. false ends it exactly "
        "where Kaldi does.",
    )
    max_segment_length_in_secs: float = option(
        math.inf, "End a segment when it is this long (s), even without a pause."
    )
    max_segment_words: int = option(
        0,
        "Maximum number of words per segment; one that has nine tenths of them ends at the next moment of "
        "silence, however short. 0 for no limit; smaller gives shorter results, but may cut words.",
    )
    num_nbest: int = option(1, "Number of hypotheses in a final result.")
    decode_mbr: bool = option(
        False, "Return the words with the fewest expected errors instead of the most probable sentence."
    )
    do_word_alignment: bool = option(True, "Add times and confidences of words to final results.")
    do_phone_alignment: bool = option(False, "Add phones and their times to final results.")
    partial_words: bool = option(
        False, "Add words with times and confidences to partial results; costs CPU time for each of them."
    )
    do_adaptation: bool = option(
        True, "Begin each segment with what was learned of the speaker before, and return it at the end."
    )
    min_words_for_ivector: int = option(
        2, "Number of words that a segment needs before what it taught of the speaker is returned."
    )
    lmwt_scale: float = option(
        1.0, "Scale of language-model costs in final lattices; larger trusts the language model more."
    )
    inverse_scale: bool = option(False, "Undo the acoustic scale in final lattices.")
    use_vad: bool = option(
        False, "Do not decode silence: a voice activity detector finds the speech; saves CPU time."
    )
    vad_aggressiveness: int = _of_vad("aggressiveness")
    vad_min_speech_ms: int = _of_vad("min_speech_ms")
    vad_hangover_ms: int = _of_vad("hangover_ms")
    vad_padding_ms: int = _of_vad("padding_ms")

    @property
    def vad(self) -> VadOptions:
        """How speech is distinguished from silence."""
        return VadOptions(
            aggressiveness=self.vad_aggressiveness,
            min_speech_ms=self.vad_min_speech_ms,
            hangover_ms=self.vad_hangover_ms,
            padding_ms=self.vad_padding_ms,
        )

    def validate(self) -> None:
        """Raises `ConfigError` where a value is invalid; the text names the option."""
        _check("chunk-length-in-secs", self.chunk_length_in_secs, "0.001 to 60", 0.001, 60.0)
        _check("traceback-period-in-secs", self.traceback_period_in_secs, "0 or more seconds", 0.0)
        _check("max-segment-length-in-secs", self.max_segment_length_in_secs, "0.1 or more seconds", 0.1)
        _check("max-segment-words", self.max_segment_words, "0 or more words", 0)
        _check("num-nbest", self.num_nbest, "1 to 1000", 1, 1000)
        _check("min-words-for-ivector", self.min_words_for_ivector, "0 or more words", 0)
        _check("lmwt-scale", self.lmwt_scale, "0.001 to 1000", 0.001, 1000.0)
        _check("vad-aggressiveness", self.vad_aggressiveness, "0 to 3", 0, 3)
        _check("vad-min-speech-ms", self.vad_min_speech_ms, "30 to 10000", 30, 10_000)
        _check("vad-hangover-ms", self.vad_hangover_ms, "30 to 60000", 30, 60_000)
        expected = f"0 to vad-hangover-ms, which is {self.vad_hangover_ms}"
        _check("vad-padding-ms", self.vad_padding_ms, expected, 0, self.vad_hangover_ms)


def _check(name: str, value: float, expected: str, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: expected {expected}, found {value}")


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
    pad_input: bool = option(True, "nnet2: repeat the first and last frame, so that each has an output.")
    max_nnet_batch_size: int = option(256, "nnet2: maximum number of frames computed at once.")

    def validate(self) -> None:
        """Raises `ConfigError` where a value is invalid; the text names the option."""
        for part in (self.session, self.decoder, self.determinizer, self.decodable, self.endpoint):
            part.validate()

"""Online recognition in one object, as PyKaldi offers it (``pykaldi: kaldi/asr.py``).

recognizer = NnetLatticeFasterOnlineRecognizer.from_files("final.mdl", "HCLG.fst", "words.txt", ...)
recognizer.set_input_pipeline(OnlineNnetFeaturePipeline(feature_info))
recognizer.init_decoding()
...                                   # pipeline.accept_waveform(...)
recognizer.advance_decoding()
recognizer.get_partial_output()["text"]
...
recognizer.finalize_decoding()
recognizer.get_output()["text"]
"""

import os
from typing import Any

from pykaldi_server.errors import DecoderError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import StdConstFst, SymbolTable, read_decoding_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetLoopedOnline,
    DecodableNnetSimpleLoopedInfo,
    NnetSimpleLoopedComputationOptions,
)
from pykaldi_server.kaldi.online2 import EndpointDetector, OnlineEndpointConfig, OnlineNnetFeaturePipeline
from pykaldi_server.kaldi.util.io import KaldiReader

__all__ = ["NnetLatticeFasterOnlineRecognizer"]


class NnetLatticeFasterOnlineRecognizer:
    """Recognises streams, one after the other, with an nnet3 model.

    Attributes:
        transition_model: the transition model.
        decoder: the search of the current stream.
        symbols: table of words; None if there is none.
    """

    def __init__(
        self,
        transition_model: TransitionModel,
        acoustic_model: AmNnetSimple,
        graph: StdConstFst,
        symbols: SymbolTable | None = None,
        decoder_opts: LatticeFasterDecoderOptions | None = None,
        decodable_opts: NnetSimpleLoopedComputationOptions | None = None,
        endpoint_opts: OnlineEndpointConfig | None = None,
    ):
        self.transition_model = transition_model
        self.symbols = symbols
        self.decodable_opts = decodable_opts or NnetSimpleLoopedComputationOptions()
        self.endpoint_opts = endpoint_opts or OnlineEndpointConfig()
        self._info = DecodableNnetSimpleLoopedInfo(self.decodable_opts, acoustic_model)
        self.decoder = LatticeFasterOnlineDecoder(
            graph, decoder_opts or LatticeFasterDecoderOptions(), transition_model.id2pdf
        )
        self._pipeline: OnlineNnetFeaturePipeline | None = None
        self._decodable: DecodableNnetLoopedOnline | None = None
        self._endpoint: EndpointDetector | None = None

    @classmethod
    def from_files(
        cls,
        model_rxfilename: str | os.PathLike[str],
        graph_rxfilename: str | os.PathLike[str],
        symbols_filename: str | os.PathLike[str] | None = None,
        decoder_opts: LatticeFasterDecoderOptions | None = None,
        decodable_opts: NnetSimpleLoopedComputationOptions | None = None,
        endpoint_opts: OnlineEndpointConfig | None = None,
    ) -> "NnetLatticeFasterOnlineRecognizer":
        """Loads ``final.mdl``, ``HCLG.fst`` and ``words.txt``.

        Raises:
            FileNotFoundError: a file does not exist.
            ModelFormatError: a file is damaged.
            ConfigError: an option is invalid.
        """
        reader = KaldiReader.open(model_rxfilename)
        transition_model = TransitionModel.read(reader)
        acoustic_model = AmNnetSimple.read(reader)
        symbols = SymbolTable.read_text(os.fspath(symbols_filename)) if symbols_filename else None
        return cls(
            transition_model,
            acoustic_model,
            read_decoding_graph(graph_rxfilename),
            symbols,
            decoder_opts,
            decodable_opts,
            endpoint_opts,
        )

    def set_input_pipeline(self, input_pipeline: OnlineNnetFeaturePipeline) -> None:
        """Sets the features of a new stream."""
        self._pipeline = input_pipeline
        self._decodable = DecodableNnetLoopedOnline(
            self._info, input_pipeline.input_feature(), input_pipeline.ivector_feature()
        )

    def init_decoding(self) -> None:
        """Starts a new search; the network continues with the next frame of the stream."""
        self.decoder.init_decoding()

    def advance_decoding(self) -> None:
        """Decodes all frames that are ready.

        Raises:
            DecoderError: there is no input pipeline.
        """
        if self._decodable is None:
            raise DecoderError("expected set_input_pipeline before advance_decoding, found no input pipeline")
        self.decoder.advance_decoding(self._decodable.advance())

    def finalize_decoding(self) -> None:
        """Ends the search; `get_output` is exact afterwards."""
        self.decoder.finalize_decoding()

    def decode(self) -> dict[str, Any]:
        """Decodes a stream whose input has finished; see `get_output`."""
        self.init_decoding()
        self.advance_decoding()
        self.finalize_decoding()
        return self.get_output()

    def endpoint_detected(self) -> bool:
        """True if the endpoint rules detect the end of the utterance."""
        if self._pipeline is None:
            return False
        if self._endpoint is None:
            shift_s = self._pipeline.frame_shift_in_seconds() * self.decodable_opts.frame_subsampling_factor
            self._endpoint = EndpointDetector(self.endpoint_opts, self.transition_model, shift_s)
        return self._endpoint.detected(self.decoder)

    def get_partial_output(self, use_final_probs: bool = False) -> dict[str, Any]:
        """Returns the best path so far; the keys are those of `get_output`, without the lattice."""
        return self._best_path(use_final_probs)

    def get_output(self) -> dict[str, Any]:
        """Returns the result of a stream that has been finalised.

        Returns:
            ``text`` (words separated by spaces; integers without a table), ``words`` (integers),
            ``alignment`` (one transition-id per frame), ``weight`` (graph and acoustic cost), ``likelihood``
            (their negated sum), ``lattice`` (the raw lattice).
        """
        return {**self._best_path(use_final_probs=True), "lattice": self.decoder.get_raw_lattice()}

    def _best_path(self, use_final_probs: bool) -> dict[str, Any]:
        best = self.decoder.get_best_path(use_final_probs)
        words = best.words.tolist()
        symbols = map(self.symbols.find_symbol if self.symbols is not None else str, words)
        return {
            "text": " ".join(symbols),
            "words": words,
            "alignment": best.alignment.tolist(),
            "weight": (best.graph_cost, best.acoustic_cost),
            "likelihood": -(best.graph_cost + best.acoustic_cost),
        }

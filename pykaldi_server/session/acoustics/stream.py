"""What all kinds of acoustic models share: streams of audio that are searched and cut into segments.

A `Stream` holds the search (`Stream.decoder`) and everything that every kind does with it; a kind adds how
samples become scores. Features either run on through the whole stream, or start again with each segment
(`RestartingStream`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import (
    DeterminizeLatticePhonePrunedOptions,
    determinize_lattice_phone_pruned,
    transition_information,
)
from pykaldi_server.kaldi.online2 import EndpointDetector, OnlineEndpointConfig

__all__ = ["Acoustics", "Endpoint", "Learner", "RestartingStream", "Stream", "StreamSetup"]


class Endpoint(Protocol):
    """Decides when segments end; immutable, shared by all streams."""

    def detected(self, decoder: LatticeFasterOnlineDecoder) -> bool:
        """Whether the decoder's segment has ended; never before the first frame."""

    def in_silence(self, decoder: LatticeFasterOnlineDecoder) -> bool:
        """Whether the best path ends in silence, however short; never before the first frame."""


class Learner(Protocol):
    """Learns of a speaker what a stream would; used by one thread at a time."""

    def learn(self, samples: NDArray[np.float32]) -> None:
        """Takes samples, int16 range; the best pieces are those of half a second."""

    def adaptation_state(self) -> str | None:
        """All that has been learned, not limited to what is remembered from one stream to the next."""


@dataclass(frozen=True)
class StreamSetup:
    """What a stream is started with.

    Attributes:
        graph: the graph to search.
        search_options: how to search it.
        endpoint: what ends segments; None if nothing but the session does.
        adapts: whether a segment begins with what was learned of the speaker before.
        adaptation_state: what is known of the speaker, in Kaldi's text form; None for nothing.
    """

    graph: DecodingGraph
    search_options: LatticeFasterDecoderOptions
    endpoint: Endpoint | None = None
    adapts: bool = True
    adaptation_state: str | None = None


class Acoustics(ABC):
    """The acoustic side of a model; immutable, shared by all streams.

    Attributes:
        has_endpoint_rules: whether Kaldi's endpoint rules apply to models of this kind.
        rescores_segments: whether lattices of segments that have ended may have another best path than the
            search found.
        transition_model: what transition-ids mean.
        transitions: the same, as lattice functions take it.
        search_options: options of the search, unless a stream has its own.
        determinizer_options: options of the determinisation of lattices.
        sample_rate_hz: rate of the samples that streams take.
        frame_shift_s: time from one decoder frame to the next.
        acoustic_scale: factor by which log-likelihoods have been multiplied.
    """

    has_endpoint_rules: ClassVar[bool] = True
    rescores_segments: ClassVar[bool] = False

    def __init__(
        self,
        transition_model: TransitionModel,
        search_options: LatticeFasterDecoderOptions,
        determinizer_options: DeterminizeLatticePhonePrunedOptions,
        *,
        sample_rate_hz: int,
        frame_shift_s: float,
        acoustic_scale: float,
    ):
        """See the attributes of the class."""
        self.transition_model = transition_model
        self.transitions = transition_information(transition_model)
        self.search_options = search_options
        self.determinizer_options = determinizer_options
        self.sample_rate_hz = sample_rate_hz
        self.frame_shift_s = frame_shift_s
        self.acoustic_scale = acoustic_scale
        self._unknown_speaker: str | None = None

    def start(
        self,
        graph: DecodingGraph,
        endpoint: Endpoint | None = None,
        adaptation_state: str | None = None,
        *,
        adapts: bool = True,
        search_options: LatticeFasterDecoderOptions | None = None,
    ) -> "Stream":
        """Starts a stream; see `StreamSetup`. The search options are the model's where none are given.

        Raises:
            AdaptationStateError: the state does not fit the model.
            ModelFormatError: the state is damaged.
        """
        search_options = search_options or self.search_options
        return self._start(StreamSetup(graph, search_options, endpoint, adapts, adaptation_state))

    def unknown_speaker(self, stream: "Stream") -> str | None:
        """Returns what is known of a speaker before any speech: a state that all streams share.

        Args:
            stream: one that has just been started without an adaptation state.
        """
        if self._unknown_speaker is None:
            self._unknown_speaker = stream.adaptation_state()
        return self._unknown_speaker

    def start_learning(self, graph: DecodingGraph, endpoint: Endpoint | None) -> "Learner | None":
        """Starts what learns of a speaker as a stream does, at a fraction of its cost.

        Args:
            graph: the graph to search, which shows where silence is.
            endpoint: what ends segments.

        Returns:
            None where streams do not remember more of a speaker than an adaptation state does: there a
            stream that has heard the last minute knows as much as one that has heard everything.
        """
        return None

    @abstractmethod
    def _start(self, setup: StreamSetup) -> "Stream":
        """Starts a stream."""

    def make_endpoint(self, rules: OnlineEndpointConfig) -> Endpoint:
        """Makes what ends segments.

        Raises:
            ConfigError: the rules name no silence phones, or phones that the model does not have.
        """
        return EndpointDetector(rules, self.transition_model, self.frame_shift_s)

    def make_decoder(self, setup: StreamSetup) -> LatticeFasterOnlineDecoder:
        """Makes the search of a stream."""
        return LatticeFasterOnlineDecoder(setup.graph, setup.search_options, self.transition_model.id2pdf)


class Stream(ABC):
    """One stream of audio through features, acoustic model and search; used by one thread at a time.

    Attributes:
        decoder: the search of the current segment.
        first_frame: the decoder frame of the stream at which the current segment starts.
    """

    def __init__(self, acoustics: Acoustics, decoder: LatticeFasterOnlineDecoder, setup: StreamSetup):
        """Starts the first segment, which ``decoder`` is to search."""
        self.decoder = decoder
        self.first_frame = 0
        self._determinizer_options = acoustics.determinizer_options
        self._endpoint = setup.endpoint
        self._transitions = acoustics.transitions

    def accept(self, samples: NDArray[np.float32]) -> bool:
        """Takes one quantum of audio; returns whether frames were decoded."""
        self._take(samples, last=False)
        return self._advance(new_quantum=True)

    def finish(self, samples: NDArray[np.float32], new_quantum: bool = True) -> bool:
        """Takes the last samples and completes the features.

        Kaldi takes the last piece of audio and the end of the stream in one step, with one traceback. A
        stream that ends exactly at a quantum has had that step's traceback already.

        Args:
            samples: the last samples; there may be none.
            new_quantum: False if they are not a quantum of their own, but only what changing the sample rate
                still held of the quantum before.

        Returns:
            Whether frames were decoded.
        """
        self._take(samples, last=True)
        return self._advance(new_quantum)

    def num_frames_decoded(self) -> int:
        """Number of decoded frames of the current segment."""
        return self.decoder.num_frames_decoded()

    def endpoint_detected(self) -> bool:
        """Whether the endpoint rules, if there are any, say that the segment has ended."""
        return self._endpoint is not None and self._endpoint.detected(self.decoder)

    def in_silence(self) -> bool:
        """Whether the best path ends in silence, however short; False if nothing finds endpoints."""
        return self._endpoint is not None and self._endpoint.in_silence(self.decoder)

    def partial_words(self) -> NDArray[np.int32]:
        """Words of the best path of the segment so far."""
        return self.decoder.partial_words()

    def num_stable_words(self) -> int:
        """How many of the first `partial_words` the search of this segment cannot change any more."""
        return self.decoder.num_stable_words()

    def partial_lattice(self) -> CompactLatticeVectorFst:
        """The lattice of the segment so far, determinised; paths end anywhere, without final costs."""
        return self._determinized_lattice(use_final_probs=False)

    def end_segment(self) -> CompactLatticeVectorFst:
        """Completes the search of the segment.

        Returns:
            Its lattice, determinised within the lattice beam of the search.
        """
        self.decoder.finalize_decoding()
        return self._determinized_lattice(use_final_probs=True)

    def next_segment(self) -> None:
        """Starts a new segment at the frame after the last one that was decoded."""
        self.first_frame += self.num_frames_decoded()
        self._start_segment()

    def adaptation_state(self) -> str | None:
        """What has been learned of the speaker so far, in Kaldi's text form; None if nothing is learned."""
        return None

    def learned(self) -> Callable[[], str | None]:
        """What has been learned of the speaker so far, to be turned into text only if somebody asks for it.

        Returns:
            What returns the `adaptation_state` of now, whatever the stream hears later.
        """
        state = self.adaptation_state()
        return lambda: state

    def _determinized_lattice(self, use_final_probs: bool) -> CompactLatticeVectorFst:
        return determinize_lattice_phone_pruned(
            self.decoder.get_raw_lattice(use_final_probs),
            self._transitions,
            self.decoder.get_options().lattice_beam,
            self._determinizer_options,
        )

    @abstractmethod
    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        """Gives samples to the features, which may not keep the array."""

    @abstractmethod
    def _advance(self, new_quantum: bool) -> bool:
        """Decodes what is ready; see `finish`."""

    @abstractmethod
    def _start_segment(self) -> None:
        """Prepares the search, and whatever else belongs to one segment, for the next one."""


class RestartingStream(Stream):
    """A stream whose features start again with each segment.

    A new segment is given the audio from its first frame on once more, so no frame is lost or decoded twice.
    """

    def __init__(
        self,
        acoustics: Acoustics,
        decoder: LatticeFasterOnlineDecoder,
        setup: StreamSetup,
        samples_per_frame: int,
    ):
        """See `Stream`; ``samples_per_frame`` is the number of samples from one decoder frame to the next."""
        super().__init__(acoustics, decoder, setup)
        self._samples_per_frame = samples_per_frame
        # The segment's audio from its sample `_audio_start` on; earlier audio is in decoded frames only.
        self._audio: list[NDArray[np.float32]] = []
        self._audio_start = 0

    def accept(self, samples: NDArray[np.float32]) -> bool:
        self._audio.append(samples.copy())  # the caller may use its buffer again
        advanced = super().accept(samples)
        self._forget_decoded()
        return advanced

    def next_segment(self) -> None:
        undecoded = self._undecoded()
        super().next_segment()
        self._audio, self._audio_start = [undecoded], 0
        self._take(undecoded, last=False)

    def _undecoded(self) -> NDArray[np.float32]:
        """The audio from the first frame on that has not been decoded."""
        held = np.concatenate([*self._audio, np.zeros(0, np.float32)])
        return held[max(0, self.num_frames_decoded() * self._samples_per_frame - self._audio_start) :]

    def _forget_decoded(self) -> None:
        decoded = self.num_frames_decoded() * self._samples_per_frame
        while self._audio and self._audio_start + len(self._audio[0]) <= decoded:
            self._audio_start += len(self._audio.pop(0))

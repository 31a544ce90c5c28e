"""What a session asks of an acoustic model: streams of frames, cut into segments."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import (
    DeterminizeLatticePhonePrunedOptions,
    TransitionInformation,
    determinize_lattice_phone_pruned,
)
from pykaldi_server.kaldi.online2 import EndpointDetector


class Stream(ABC):
    """One stream of audio through features, acoustic model and search; used by one thread at a time.

    Attributes:
        first_frame: the decoder frame of the stream at which the present segment starts.
    """

    first_frame: int = 0

    @abstractmethod
    def accept(self, samples: NDArray[np.float32]) -> bool:
        """Takes one quantum of audio; tells whether frames were decoded."""

    @abstractmethod
    def finish(self, samples: NDArray[np.float32], new_quantum: bool = True) -> bool:
        """Takes the last samples and completes the features.

        Kaldi takes the last piece of audio and the end of the stream in one step, with one traceback. A
        stream that ends exactly at a quantum has had that step's traceback already.

        Args:
            samples: the last samples; there may be none.
            new_quantum: False if they are no quantum of their own, but only what changing the sample rate
                still held of the quantum before.

        Returns:
            True if frames were decoded.
        """

    @abstractmethod
    def num_frames_decoded(self) -> int:
        """Frames of the present segment."""

    @abstractmethod
    def endpoint_detected(self) -> bool:
        """True when the endpoint rules, if there are any, say that the segment is over."""

    @abstractmethod
    def partial_words(self) -> NDArray[np.int32]:
        """Words of the best path of the segment so far."""

    @abstractmethod
    def end_segment(self) -> CompactLatticeVectorFst:
        """Completes the search of the segment; returns its lattice, determinised."""

    @abstractmethod
    def next_segment(self) -> None:
        """Starts a new segment at the frame after the last one that was decoded."""

    @abstractmethod
    def adaptation_state(self) -> str | None:
        """What is known of the speaker by now, in Kaldi's text form; None where nothing is learned."""


class Acoustics(ABC):
    """The acoustic side of a model; immutable, shared by all streams.

    Attributes:
        transition_model: what transition-ids mean.
        sample_rate_hz: rate of the samples that streams take.
        frame_shift_s: time from one decoder frame to the next.
        acoustic_scale: factor that log-likelihoods have been multiplied with.
    """

    transition_model: TransitionModel
    sample_rate_hz: int
    frame_shift_s: float
    acoustic_scale: float

    @abstractmethod
    def start(
        self, graph: DecodingGraph, endpoint: EndpointDetector | None, adaptation_state: str | None
    ) -> Stream:
        """Starts a stream.

        Raises:
            AdaptationStateError: the state does not fit the model.
            ModelFormatError: the state is damaged.
        """


def complete_search(
    decoder: LatticeFasterOnlineDecoder,
    transitions: TransitionInformation,
    opts: DeterminizeLatticePhonePrunedOptions,
) -> CompactLatticeVectorFst:
    """Ends the search of a segment and determinises its lattice within the decoder's lattice beam."""
    decoder.finalize_decoding()
    beam = decoder.get_options().lattice_beam
    return determinize_lattice_phone_pruned(decoder.get_raw_lattice(), transitions, beam, opts)


class RestartingStream(Stream):
    """A stream whose features start anew with each segment.

    The new segment is fed again the audio from its first frame on, so no frame is lost or decoded twice.
    """

    def __init__(self, samples_per_frame: int):
        """``samples_per_frame``: samples from one decoder frame to the next."""
        self._samples_per_frame = samples_per_frame
        # The segment's audio from sample `_audio_start` of the segment on; older audio has been decoded.
        self._audio: list[NDArray[np.float32]] = []
        self._audio_start = 0

    def accept(self, samples: NDArray[np.float32]) -> bool:
        self._audio.append(samples)
        self._take(samples, last=False)
        return self._advance_and_forget(new_quantum=True)

    def finish(self, samples: NDArray[np.float32], new_quantum: bool = True) -> bool:
        self._take(samples, last=True)
        return self._advance_and_forget(new_quantum)

    def next_segment(self) -> None:
        decoded = self.num_frames_decoded()
        self.first_frame += decoded
        held = np.concatenate(self._audio) if self._audio else np.zeros(0, np.float32)
        rest = held[max(0, decoded * self._samples_per_frame - self._audio_start) :]
        self._start_segment()
        self._audio, self._audio_start = [rest], 0
        self._take(rest, last=False)

    @abstractmethod
    def _start_segment(self) -> None:
        """Makes features and search of a new segment, with what is known of the speaker."""

    @abstractmethod
    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        """Gives samples to the features."""

    @abstractmethod
    def _advance(self, new_quantum: bool) -> bool:
        """Decodes the frames that are ready; see `finish`."""

    def _advance_and_forget(self, new_quantum: bool) -> bool:
        advanced = self._advance(new_quantum)
        needed = self.num_frames_decoded() * self._samples_per_frame
        while self._audio and self._audio_start + len(self._audio[0]) <= needed:
            self._audio_start += len(self._audio.pop(0))
        return advanced

"""Log-likelihoods of a live stream (``nnet3/decodable-online-looped.cc``).

Features and i-vectors are pulled from the feature pipeline as soon as a whole chunk can be computed. Before
the first frame and after the last one, the outermost frame is repeated. Each chunk uses the i-vector of the
latest frame that has one *at that moment*, so results depend on when `advance` is called: call it after the
same amounts of audio to get the same results.

The network continues from one segment to the next: a decoder that is restarted in the middle of a stream
receives the blocks from there on.
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.feat.online_feature import OnlineFeatureInterface
from pykaldi_server.kaldi.nnet3.looped import DecodableNnetSimpleLoopedInfo, LoopedStream

__all__ = ["DecodableNnetLoopedOnline"]


class DecodableNnetLoopedOnline:
    """One stream of log-likelihoods. It owns its state of the computation, but not the features.

    Attributes:
        info: the model's plan.
    """

    def __init__(
        self,
        info: DecodableNnetSimpleLoopedInfo,
        input_features: OnlineFeatureInterface,
        ivector_features: OnlineFeatureInterface | None = None,
    ):
        """Starts a stream.

        Raises:
            ModelFormatError: features or i-vectors do not have the dimension that the network expects.
        """
        ivector_dim = ivector_features.dim() if ivector_features is not None else 0
        for what, found, expected in (
            ("features", input_features.dim(), info.input_dim),
            ("i-vectors", ivector_dim, info.ivector_dim),
        ):
            if found != expected:
                raise ModelFormatError(f"expected {what} of dimension {expected}, found {found}")
        self.info = info
        self._input_features = input_features
        self._ivector_features = ivector_features
        self._stream = LoopedStream(info)
        self._last_frame = np.zeros((1, info.input_dim), np.float32)
        self._nothing = np.zeros((0, info.output_dim), np.float32)

    def num_frames_ready(self) -> int:
        """Returns the number of output frames ready so far, counted from the start of the stream."""
        ready = self._input_features.num_frames_ready()
        if ready == 0:
            return 0
        factor = self.info.opts.frame_subsampling_factor
        if self._input_features.is_last_frame(ready - 1):
            return -(-ready // factor)
        chunks = max(0, ready - self.info.frames_right_context) // self.info.frames_per_chunk
        return chunks * self.info.output_frames_per_chunk

    def is_last_frame(self, frame: int) -> bool:
        """Returns whether the input has finished and ``frame`` is the last output frame (-1: none)."""
        ready = self._input_features.num_frames_ready()
        if not self._input_features.is_last_frame(ready - 1):
            return False
        return frame == -(-ready // self.info.opts.frame_subsampling_factor) - 1

    def chunk_is_ready(self) -> bool:
        """Returns whether the next chunk can be computed."""
        return self.num_frames_ready() > self._stream.chunks * self.info.output_frames_per_chunk

    def advance(self) -> NDArray[np.float32]:
        """Computes everything that can be computed so far.

        Returns:
            The log-likelihoods not returned before, (frames, output_dim) float32, possibly none, minus the
            logarithms of the priors, times the acoustic scale.
        """
        blocks = []
        while self.chunk_is_ready():
            blocks.append(self._trim_output(self._stream.compute_chunk(*self._take_input())))
        if len(blocks) > 1:
            return np.concatenate(blocks)
        return blocks[0] if blocks else self._nothing

    def _take_input(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Returns features and i-vector of the next chunk, which must be ready and must then be computed."""
        begin, end = self.info.input_frames(self._stream.chunks)
        ready = self._input_features.num_frames_ready()
        first, last = max(0, min(begin, ready)), min(end, ready)
        frames = self._input_features.get_frames(first, last)
        # Frames before the start are copies of frame 0; frames after the end are copies of the last one.
        if last > first:
            self._last_frame = frames[-1:].copy()
        if last - first < end - begin:
            before = np.repeat(frames[:1], first - begin, axis=0) if begin < 0 else frames[:0]
            after = np.repeat(self._last_frame, end - max(begin, last), axis=0)
            frames = np.concatenate([before, frames, after])
        return frames, self._newest_ivector(ready)

    def _trim_output(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the last computed chunk without the rows past the end of the stream."""
        begin = (self._stream.chunks - 1) * self.info.output_frames_per_chunk
        return output[: max(0, self.num_frames_ready() - begin)]

    def _newest_ivector(self, ready: int) -> NDArray[np.float32] | None:
        if self._ivector_features is None:
            return None
        with_ivector = min(ready, self._ivector_features.num_frames_ready())
        return self._ivector_features.get_frame(with_ivector - 1) if with_ivector else None

"""Features that come as a stream of frames (``itf/online-feature-itf.h``, ``feat/online-feature.cc``).

Features are pulled: each object knows how many of its frames can be computed so far, and computes blocks
of them on request. Frames are numbered from 0 at the start of the stream. Objects that store
frames can be told to keep a bounded history, so that a stream may last for hours.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import FrameBuffer, PackedProduct
from pykaldi_server.kaldi.feat.pieces import pieces_of
from pykaldi_server.kaldi.util.finite import read_finite_matrix, require_finite
from pykaldi_server.kaldi.util.io import KaldiReader

__all__ = [
    "HISTORY_FRAMES",
    "MAX_SPEAKER_FRAMES",
    "FloatFrames",
    "FrameBuffer",
    "OnlineAppendFeature",
    "OnlineBaseFeature",
    "OnlineCacheFeature",
    "OnlineDerivedFeature",
    "OnlineFeatureInterface",
    "OnlineMatrixFeature",
    "OnlineSpliceFrames",
    "OnlineSpliceTransform",
    "OnlineTransform",
    "packed_transform",
    "read_transform",
    "splice_and_transform",
]

FloatFrames = NDArray[np.float32]

# Enough history for a stream of any length: silence weighting revises up to 100 decoder frames (300 input
# frames at the usual subsampling of 3), and cepstral mean normalisation looks back 600.
HISTORY_FRAMES = 1000

# More frames than a speaker's statistics can be made of: four months of speech.
MAX_SPEAKER_FRAMES = 1e9


class OnlineFeatureInterface(ABC):
    """A stream of feature vectors."""

    @abstractmethod
    def dim(self) -> int:
        """Dimension of a frame."""

    @abstractmethod
    def num_frames_ready(self) -> int:
        """Number of frames ready so far, counted from the start of the stream."""

    @abstractmethod
    def is_last_frame(self, frame: int) -> bool:
        """True if the input has finished and ``frame`` is the last frame (-1: there are no frames)."""

    @abstractmethod
    def get_frames(self, begin: int, end: int) -> FloatFrames:
        """Returns the frames from ``begin`` up to, but not including, ``end``: (end - begin, dim), float32.

        Raises:
            IndexError: a frame is not ready, or is no longer kept.
        """

    def get_frame(self, frame: int) -> FloatFrames:
        """Returns one frame, (dim,), float32."""
        vector: FloatFrames = self.get_frames(frame, frame + 1)[0]
        return vector

    def frame_shift_in_seconds(self) -> float:
        """Time between frames in seconds."""
        return 0.01


class OnlineBaseFeature(OnlineFeatureInterface):
    """Features that are computed from samples."""

    @abstractmethod
    def accept_waveform(self, samp_freq: float, waveform: NDArray[np.float32]) -> None:
        """Accepts samples.

        Args:
            samp_freq: their rate in Hz.
            waveform: (samples,), float32, in the range of 16-bit integers.

        Raises:
            AudioError: the rate is not the feature's and may not be converted, or a sample is not finite.
            DecoderError: the input has finished.
        """

    @abstractmethod
    def input_finished(self) -> None:
        """Marks the end of the input; the last frames become ready."""


class OnlineMatrixFeature(OnlineFeatureInterface):
    """A whole matrix of features as a stream: all frames are ready from the start."""

    def __init__(self, matrix: FloatFrames):
        """``matrix``: (frames, dim), float32."""
        self._matrix = np.ascontiguousarray(matrix, np.float32)

    def dim(self) -> int:
        return int(self._matrix.shape[1])

    def num_frames_ready(self) -> int:
        return len(self._matrix)

    def is_last_frame(self, frame: int) -> bool:
        return frame == len(self._matrix) - 1

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        if not 0 <= begin <= end <= len(self._matrix):
            raise IndexError(f"expected frames from 0 to {len(self._matrix)}, found {begin} to {end}")
        return self._matrix[begin:end]


class OnlineDerivedFeature(OnlineFeatureInterface):
    """A stream derived from another one, frame by frame."""

    def __init__(self, src: OnlineFeatureInterface):
        self._src = src

    def dim(self) -> int:
        return self._src.dim()

    def num_frames_ready(self) -> int:
        return self._src.num_frames_ready()

    def is_last_frame(self, frame: int) -> bool:
        return self._src.is_last_frame(frame)

    def frame_shift_in_seconds(self) -> float:
        return self._src.frame_shift_in_seconds()

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        return self._src.get_frames(begin, end)


class OnlineCacheFeature(OnlineDerivedFeature):
    """Keeps the frames of another stream, so that each is computed once."""

    def __init__(self, src: OnlineFeatureInterface, history: int | None = None):
        """Keeps at least ``history`` frames behind the newest one; None keeps all."""
        super().__init__(src)
        self._cache = FrameBuffer(src.dim(), history)

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        self._fill(end)
        return self._cache.get(begin, end)

    def _fill(self, end: int) -> None:
        if end > self._cache.end:
            self._cache.append(self._src.get_frames(self._cache.end, end))


class OnlineSpliceFrames(OnlineDerivedFeature):
    """Joins each frame with its neighbours; at both ends of the stream the outermost frame is repeated."""

    def __init__(self, src: OnlineFeatureInterface, left_context: int, right_context: int):
        super().__init__(src)
        self._left = left_context
        self._right = right_context

    def dim(self) -> int:
        return self._src.dim() * (self._left + 1 + self._right)

    def num_frames_ready(self) -> int:
        ready = self._src.num_frames_ready()
        if ready > 0 and self._src.is_last_frame(ready - 1):
            return ready
        return max(0, ready - self._right)

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        padded = self._padded(begin, end)
        if begin == end:
            return np.zeros((0, self.dim()), np.float32)
        return pieces_of(padded.reshape(-1), self.dim(), self._src.dim()).copy()

    def _padded(self, begin: int, end: int) -> FloatFrames:
        """The frames with all their neighbours, (end - begin + left + right, dim)."""
        ready = self.num_frames_ready()
        if not 0 <= begin <= end <= ready:
            raise IndexError(f"expected frames up to {ready}, which are ready, found {begin} to {end}")
        if begin == end:
            return np.zeros((self._left + self._right, self._src.dim()), np.float32)
        first, last = begin - self._left, end + self._right
        available = self._src.num_frames_ready()
        frames = self._src.get_frames(max(0, first), min(last, available))
        if first >= 0 and last <= available:
            return frames
        return np.pad(frames, ((max(0, -first), max(0, last - available)), (0, 0)), mode="edge")


def packed_transform(transform: NDArray[np.floating], dim: int) -> PackedProduct:
    """Prepares a matrix that transforms features, such as LDA, for use.

    Args:
        transform: (dim_out, dim) or (dim_out, dim + 1); an additional column is an offset.
        dim: dimension of the features.

    Raises:
        ValueError: the matrix does not fit the dimension, or is not finite.
    """
    transform = require_finite(transform, "the transform", np.float32)
    columns = transform.shape[1]
    if columns not in (dim, dim + 1):
        raise ValueError(f"expected a transform with {dim} or {dim + 1} columns, found {columns}")
    offset = transform[:, dim].copy() if columns == dim + 1 else None
    return PackedProduct(np.ascontiguousarray(transform[:, :dim]), bias=offset)


class OnlineTransform(OnlineDerivedFeature):
    """Multiplies each frame by a matrix such as LDA; an additional column of the matrix is an offset."""

    def __init__(self, transform: NDArray[np.floating], src: OnlineFeatureInterface):
        """Takes a matrix of shape (dim_out, dim_in) or (dim_out, dim_in + 1).

        Raises:
            ValueError: the matrix does not fit the dimension of ``src``, or is not finite.
        """
        super().__init__(src)
        self._product = packed_transform(transform, src.dim())

    def dim(self) -> int:
        return self._product.output_dim

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        return self._product.multiply(self._src.get_frames(begin, end))


class OnlineSpliceTransform(OnlineSpliceFrames):
    """Joins each frame with its neighbours and multiplies the result by a matrix, without a copy of it."""

    def __init__(
        self, transform: PackedProduct, src: OnlineFeatureInterface, left_context: int, right_context: int
    ):
        """Takes a matrix for the joined frames, see `packed_transform`."""
        super().__init__(src, left_context, right_context)
        self._product = transform

    def dim(self) -> int:
        return self._product.output_dim

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        return self._product.multiply_spliced(self._padded(begin, end))


def splice_and_transform(
    transform: NDArray[np.floating], src: OnlineFeatureInterface, left_context: int, right_context: int
) -> OnlineSpliceTransform:
    """Joins each frame with its neighbours and multiplies the result by a matrix; see `packed_transform`.

    Raises:
        ValueError: the matrix does not fit the joined frames, or is not finite.
    """
    product = packed_transform(transform, src.dim() * (left_context + 1 + right_context))
    return OnlineSpliceTransform(product, src, left_context, right_context)


def read_transform(reader: KaldiReader) -> NDArray[np.float32]:
    """Reads a matrix that transforms features, such as LDA (``final.mat``).

    Returns:
        (dim_out, dim_in) or (dim_out, dim_in + 1), float32.

    Raises:
        ModelFormatError: the bytes are not a matrix, or it is empty or not finite.
    """
    start = reader.offset
    matrix = read_finite_matrix(reader, "a transform of features", np.float32)
    if matrix.size == 0:
        raise reader.error("a transform of features", "an empty matrix", start)
    return matrix


class OnlineAppendFeature(OnlineFeatureInterface):
    """Joins the frames of two streams; a frame is ready when both have it."""

    def __init__(self, src1: OnlineFeatureInterface, src2: OnlineFeatureInterface):
        self._src1 = src1
        self._src2 = src2

    def dim(self) -> int:
        return self._src1.dim() + self._src2.dim()

    def num_frames_ready(self) -> int:
        return min(self._src1.num_frames_ready(), self._src2.num_frames_ready())

    def is_last_frame(self, frame: int) -> bool:
        return self._src1.is_last_frame(frame) or self._src2.is_last_frame(frame)

    def frame_shift_in_seconds(self) -> float:
        return self._src1.frame_shift_in_seconds()

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        return np.hstack([self._src1.get_frames(begin, end), self._src2.get_frames(begin, end)])

"""Networks of the nnet2 kind: a chain of layers (``nnet2/nnet-nnet.cc``, ``nnet2/nnet-compute.cc``).

Splicing layers need frames on both sides: in total, ``left_context()`` before the first and
``right_context()`` after the last output frame. At the ends of a recording, copies of the outermost frames
take their place (``pad_input``), once for the whole network and not per layer.
"""

import numpy as np

from pykaldi_server.kaldi.nnet2.component import Component, FloatFrames
from pykaldi_server.kaldi.nnet2.component_reader import read_component
from pykaldi_server.kaldi.util.io import KaldiReader

__all__ = ["Nnet", "NnetOnlineComputer"]


class Nnet:
    """A network. Immutable, shared by all sessions."""

    def __init__(self, components: list[Component]):
        """Takes layers; each one must accept the output of the previous one."""
        self.components = components

    def input_dim(self) -> int:
        """Returns the dimension of input frames."""
        return self.components[0].input_dim

    def output_dim(self) -> int:
        """Returns the dimension of output frames."""
        return self.components[-1].output_dim

    def left_context(self) -> int:
        """Returns the number of frames needed before an output frame."""
        return -sum(component.context[0] for component in self.components)

    def right_context(self) -> int:
        """Returns the number of frames needed after an output frame."""
        return sum(component.context[-1] for component in self.components)

    def has_constant_part(self) -> bool:
        """True if a part of the input, such as an i-vector, is assumed to be the same in all frames."""
        return any(component.has_constant_part for component in self.components)

    def compute(self, features: FloatFrames, pad_input: bool = True) -> FloatFrames:
        """Computes the output for a whole recording (nnet-compute).

        Args:
            features: (frames, input_dim) float32.
            pad_input: repeat the outermost frames, so that every frame has an output; otherwise there are
                ``left_context() + right_context()`` fewer.

        Returns:
            (frames, output_dim) float32: the output of the last layer, in most networks probabilities.

        Raises:
            ValueError: the frames have a different dimension.
        """
        if features.ndim != 2 or features.shape[1] != self.input_dim():
            raise ValueError(f"expected frames of dimension {self.input_dim()}, found {features.shape}")
        left, right = (self.left_context(), self.right_context()) if pad_input else (0, 0)
        if len(features) + left + right <= self.left_context() + self.right_context():
            return np.zeros((0, self.output_dim()), np.float32)
        padded = np.pad(np.asarray(features, np.float32), ((left, right), (0, 0)), mode="edge")
        with np.errstate(all="ignore"):  # the decoder refuses numbers that overflow
            for component in self.components:
                padded = component.propagate(padded)
        return padded

    @classmethod
    def read(cls, reader: KaldiReader) -> "Nnet":
        """Reads a network ("raw" nnet2).

        Raises:
            ModelFormatError: the bytes are not a network, or its layers do not fit together.
        """
        reader.expect_token("<Nnet>")
        reader.expect_token("<NumComponents>")
        count = reader.read_count("components", at_most=reader.remaining)
        reader.expect_token("<Components>")
        components: list[Component] = []
        for index in range(count):
            start = reader.offset
            component = read_component(reader)
            if components and component.input_dim != components[-1].output_dim:
                raise reader.error(
                    f"component {index} to take frames of dimension {components[-1].output_dim}",
                    str(component.input_dim),
                    start,
                )
            components.append(component)
        if not components:
            raise reader.error("components", "none")
        reader.expect_token("</Components>")
        reader.expect_token("</Nnet>")
        return cls(components)


class NnetOnlineComputer:
    """Computes a network's output on a stream of input, each layer once per frame.

    Every splicing layer keeps the frames of its input that later output frames need
    (``nnet2/nnet-compute-online.cc``). Owned by one stream; only one thread may use it at a time.
    """

    def __init__(self, nnet: Nnet, pad_input: bool = True):
        """Starts a stream; see `Nnet.compute` for ``pad_input``."""
        self._nnet = nnet
        self._pad_input = pad_input
        self._kept: dict[int, FloatFrames] = {}
        self._last_frame: FloatFrames | None = None

    def compute(self, features: FloatFrames) -> FloatFrames:
        """Accepts the next frames and returns the output frames that became computable, possibly none.

        Args:
            features: (frames, input_dim) float32.

        Returns:
            (frames, output_dim) float32.
        """
        if len(features) == 0:
            return np.zeros((0, self._nnet.output_dim()), np.float32)
        if self._last_frame is None and self._pad_input:
            features = np.pad(features, ((self._nnet.left_context(), 0), (0, 0)), mode="edge")
        self._last_frame = features[-1:].copy()
        return self._propagate(features)

    def flush(self) -> FloatFrames:
        """Ends the input and returns the remaining output frames, (frames, output_dim) float32."""
        right = self._nnet.right_context()
        if self._last_frame is None or not self._pad_input or right == 0:
            return np.zeros((0, self._nnet.output_dim()), np.float32)
        return self._propagate(np.repeat(self._last_frame, right, axis=0))

    def _propagate(self, frames: FloatFrames) -> FloatFrames:
        for index, component in enumerate(self._nnet.components):
            span = component.context[-1] - component.context[0]
            if span:
                frames = np.concatenate([self._kept[index], frames]) if index in self._kept else frames
                self._kept[index] = frames[max(0, len(frames) - span) :]
                if len(frames) <= span:
                    return np.zeros((0, self._nnet.output_dim()), np.float32)
            with np.errstate(all="ignore"):
                frames = component.propagate(frames)
        return frames

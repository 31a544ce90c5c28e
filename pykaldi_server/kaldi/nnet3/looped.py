"""Looped computation: a network over an endless stream of frames, chunk by chunk
(``nnet3/decodable-simple-looped.cc``, ``nnet3/nnet-compile-looped.cc``).

With C frames per chunk and contexts L and R, chunk 0 reads the input frames -L to C + R - 1 and chunk k the
frames kC + R to (k + 1)C + R - 1. Chunk k produces the outputs for kC to (k + 1)C - 1, every S-th one (S:
subsampling factor). C is frames_per_chunk rounded up to a multiple of S and of the network's modulus. Nothing
is computed twice: what later chunks need is kept.

The i-vector of chunk k serves all times below (k + 1)C + R that no earlier one serves, in steps of C: a layer
at time t sees the i-vector of chunk floor(t / C) - ceil(R / C), or of chunk 0.

`DecodableNnetSimpleLoopedInfo` is the plan: immutable, one per model. `LoopedStream` is one stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi._core import NnetMemoryPool
from pykaldi_server.kaldi.nnet3.am_nnet_simple import AmNnetSimple
from pykaldi_server.kaldi.nnet3.collapse import collapse_model, round_ivector_times
from pykaldi_server.kaldi.nnet3.compile import compile_chunk
from pykaldi_server.kaldi.nnet3.components.base import Index
from pykaldi_server.kaldi.nnet3.context import backward_recurrence, compute_simple_nnet_context
from pykaldi_server.kaldi.nnet3.lowering import build_graph, build_outline
from pykaldi_server.kaldi.nnet3.nnet import SIMPLE_INTERFACE, Nnet
from pykaldi_server.kaldi.nnet3.plan import ChunkRequest, Plan, plan_looped
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option, require_range

__all__ = ["DecodableNnetSimpleLoopedInfo", "LoopedStream", "NnetSimpleLoopedComputationOptions"]

_MAX_CHUNK = 10_000


@dataclass
class NnetSimpleLoopedComputationOptions(Options):
    """Options of looped computation, with Kaldi's names and defaults."""

    without_effect: ClassVar[tuple[str, ...]] = ("optimization.", "computation.")

    extra_left_context_initial: int = option(
        0, "Extra copies of the first frame that the network reads before frame 0."
    )
    frame_subsampling_factor: int = option(1, "Input frames per output frame (3 for chain models).")
    frames_per_chunk: int = option(
        24, "Input frames computed at a time, rounded up as the network requires; more are faster and later."
    )
    acoustic_scale: float = option(
        0.1, "Scale of acoustic log-likelihoods (1.0 for chain models); larger trusts the acoustics more."
    )
    debug_computation: bool = option(False, "Accepted and ignored.")

    def validate(self) -> None:
        require_range(self, "extra_left_context_initial", 0, _MAX_CHUNK)
        require_range(self, "frame_subsampling_factor", 1, 100)
        require_range(self, "frames_per_chunk", 1, _MAX_CHUNK)
        require_finite_options(self)
        if self.acoustic_scale <= 0:
            raise ConfigError(f"acoustic-scale: expected a positive number, found {self.acoustic_scale}")


class DecodableNnetSimpleLoopedInfo:
    """The plan of a model's looped computation; shared by all streams and threads.

    Attributes:
        opts: the options.
        frames_per_chunk: input frames per chunk, after rounding.
        frames_left_context, frames_right_context: L and R.
        input_dim: columns of the features.
        ivector_dim: elements of the i-vector; 0 if the network has none.
        output_dim: columns of the output.
        log_priors: (output_dim,) float32, subtracted from the output; None if the model has none.
        output_frames_per_chunk: output rows per chunk.
    """

    def __init__(
        self, opts: NnetSimpleLoopedComputationOptions, model: AmNnetSimple | Nnet, collapse: bool = True
    ):
        """Plans the computation.

        Args:
            opts: the options.
            model: the model, or a network without priors.
            collapse: merge affine components first, as Kaldi's programs do (see `collapse`).

        Raises:
            ConfigError: an option is invalid.
            ModelFormatError: the network cannot be computed in a stream; the text says why.
        """
        opts.validate()
        nnet = model.nnet if isinstance(model, AmNnetSimple) else model
        self.opts = opts
        self.log_priors = model.log_priors if isinstance(model, AmNnetSimple) else None
        try:
            with np.errstate(all="ignore"):
                plan = self._make_plan(nnet, collapse)
        except ValueError as error:
            text = f"{nnet.path}: this network cannot be computed in a stream: {error}"
            raise ModelFormatError(text) from error
        pool = NnetMemoryPool()
        self._computations = [
            compile_chunk(plan, chunk, pool, self.log_priors, self.opts.acoustic_scale)
            for chunk in range(len(plan.chunks))
        ]

    @property
    def kernels(self) -> str:
        """Name of the kernels that the computation uses."""
        return self._computations[0].kernels

    def _make_plan(self, nnet: Nnet, collapse: bool) -> Plan:
        if not nnet.is_simple():
            raise ValueError(f"expected {SIMPLE_INTERFACE}")
        outline = build_outline(nnet)
        future = backward_recurrence(outline)
        if future is not None:
            raise ValueError(
                f"{future} depends on its own future (a backward recurrence, as in bidirectional LSTMs), "
                "which a live stream does not have"
            )
        left, right = compute_simple_nnet_context(outline, nnet.modulus)
        step = np.lcm(nnet.modulus, self.opts.frame_subsampling_factor)
        self.frames_per_chunk = int(-(-self.opts.frames_per_chunk // step) * step)
        self.frames_left_context = left + self.opts.extra_left_context_initial
        self.frames_right_context = right
        self.input_dim = nnet.input_dim("input")
        self.ivector_dim = nnet.input_dim("ivector")
        self.output_dim = nnet.output_dim("output")
        self.output_frames_per_chunk = self.frames_per_chunk // self.opts.frame_subsampling_factor
        if collapse:
            nnet = collapse_model(nnet)
        if self.ivector_dim:
            nnet = round_ivector_times(nnet, self.frames_per_chunk)
        return plan_looped(build_graph(nnet), self._request, self.frames_per_chunk)

    def input_frames(self, chunk: int) -> tuple[int, int]:
        """Returns the first input frame that a chunk reads, and one past the last."""
        length, right = self.frames_per_chunk, self.frames_right_context
        begin = chunk * length + right if chunk else -self.frames_left_context
        return begin, (chunk + 1) * length + right

    def _request(self, chunk: int) -> ChunkRequest:
        length = self.frames_per_chunk
        begin, end = self.input_frames(chunk)
        ivectors = _ivector_times(begin, end, length)
        if chunk:
            ivectors -= _ivector_times(-self.frames_left_context, begin, length)
        output = range(chunk * length, (chunk + 1) * length, self.opts.frame_subsampling_factor)
        inputs = {"input": _indexes(range(begin, end)), "ivector": _indexes(sorted(ivectors))}
        return ChunkRequest(inputs, _indexes(output))

    @property
    def matrix_products(self) -> list[tuple[int, int, int]]:
        """Sizes (rows, inner, columns) of the matrix products of a chunk in mid-stream, in order."""
        return self._computations[-1].products

    def compute_chunk(
        self, stream: "LoopedStream", features: NDArray[np.float32], ivector: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Computes the next chunk of a stream.

        Args:
            stream: a stream of this plan, which no other thread is using.
            features: the frames of `input_frames`, (frames, input_dim) float32.
            ivector: (ivector_dim,) float32; None counts as zero.

        Returns:
            (output_frames_per_chunk, output_dim) float32: log-likelihoods minus the logarithms of the
            priors, times the acoustic scale.

        Raises:
            ValueError: an input has the wrong shape.
        """
        self._check(stream, features, ivector)
        computation = self._computations[min(stream.chunks, len(self._computations) - 1)]
        if ivector is None:
            ivector = np.zeros(self.ivector_dim, np.float32)
        inputs = [np.ascontiguousarray(x, np.float32) for x in (features, ivector[np.newaxis])]
        state = stream.state
        if len(state) != computation.next_state_size:
            state = np.empty(computation.next_state_size, np.float32)
        output = np.empty(computation.output_shape, np.float32)
        computation.run(inputs, stream.state, state, output)
        stream.state = state
        stream.chunks += 1
        return output

    def _check(
        self, stream: "LoopedStream", features: NDArray[np.float32], ivector: NDArray[np.float32] | None
    ) -> None:
        begin, end = self.input_frames(stream.chunks)
        if features.shape != (end - begin, self.input_dim):
            raise ValueError(f"expected features of {end - begin} x {self.input_dim}, found {features.shape}")
        if ivector is not None and ivector.shape != (self.ivector_dim,):
            raise ValueError(f"expected an i-vector of {self.ivector_dim}, found {ivector.shape}")


class LoopedStream:
    """One stream of a looped computation: its state between chunks.

    Attributes:
        info: the plan.
        chunks: chunks computed so far.
        state: the numbers that later chunks need, float32.
    """

    def __init__(self, info: DecodableNnetSimpleLoopedInfo):
        self.info = info
        self.chunks = 0
        self.state = np.empty(0, np.float32)

    def compute_chunk(
        self, features: NDArray[np.float32], ivector: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Computes the next chunk; see `DecodableNnetSimpleLoopedInfo.compute_chunk`."""
        return self.info.compute_chunk(self, features, ivector)


def _indexes(times: Sequence[int]) -> list[Index]:
    return [(t, 0) for t in times]


def _ivector_times(begin: int, end: int, period: int) -> set[int]:
    return {t - t % period for t in range(begin, end)}

"""Computation on whole recordings, like ``nnet3-compute`` (``nnet3/nnet-am-decodable-simple.cc``).

The output is computed in independent chunks: each reads its own context, and recurrent layers start again.
Times are relative to the chunk's first output. One i-vector serves a whole chunk: the one for the middle of
its outputs. Unlike in a stream, backward recurrence is possible.
"""

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi._core import NnetComputation, NnetMemoryPool
from pykaldi_server.kaldi.nnet3.am_nnet_simple import AmNnetSimple
from pykaldi_server.kaldi.nnet3.compile import compile_chunk
from pykaldi_server.kaldi.nnet3.context import compute_simple_nnet_context
from pykaldi_server.kaldi.nnet3.lowering import build_graph
from pykaldi_server.kaldi.nnet3.nnet import SIMPLE_INTERFACE, Nnet
from pykaldi_server.kaldi.nnet3.plan import ChunkRequest, plan_single
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option, require_range

__all__ = ["NnetComputer", "NnetSimpleComputationOptions"]

_MAX_CHUNK = 100_000


@dataclass(frozen=True)
class NnetSimpleComputationOptions(Options):
    """Options of offline computation, with Kaldi's names and defaults."""

    extra_left_context: int = option(0, "Frames of context that each chunk reads in addition before its own.")
    extra_right_context: int = option(0, "Frames of context that each chunk reads in addition after its own.")
    extra_left_context_initial: int = option(
        -1, "Additional frames before the first chunk; -1: as for the others."
    )
    extra_right_context_final: int = option(
        -1, "Additional frames after the last chunk; -1: as for the others."
    )
    frame_subsampling_factor: int = option(1, "Input frames per output frame (3 for chain models).")
    frames_per_chunk: int = option(50, "Input frames computed at a time, rounded up as needed.")
    acoustic_scale: float = option(0.1, "Scale of the log-likelihoods.")

    def validate(self) -> None:
        require_range(self, "extra_left_context", 0, _MAX_CHUNK)
        require_range(self, "extra_right_context", 0, _MAX_CHUNK)
        require_range(self, "extra_left_context_initial", -1, _MAX_CHUNK)
        require_range(self, "extra_right_context_final", -1, _MAX_CHUNK)
        require_range(self, "frame_subsampling_factor", 1, 100)
        require_range(self, "frames_per_chunk", 1, _MAX_CHUNK)
        require_finite_options(self)
        if self.acoustic_scale <= 0:
            raise ConfigError(f"acoustic-scale: expected a positive number, found {self.acoustic_scale}")


class NnetComputer:
    """A model prepared for whole recordings; threads may share it.

    Immutable except for its cache of computations.

    Attributes:
        opts: the options.
        left_context, right_context: frames that an output requires before and after its own.
        frames_per_chunk: input frames per chunk, a multiple of the modulus and the subsampling factor.
    """

    def __init__(self, opts: NnetSimpleComputationOptions, model: AmNnetSimple | Nnet):
        """Prepares a model, or a network without priors.

        Raises:
            ConfigError: an option is invalid.
            ModelFormatError: the network cannot be computed.
        """
        opts.validate()
        nnet = model.nnet if isinstance(model, AmNnetSimple) else model
        self.opts = opts
        self._log_priors = model.log_priors if isinstance(model, AmNnetSimple) else None
        self._ivector_dim = nnet.input_dim("ivector")
        self._input_dim = nnet.input_dim("input")
        self._pool = NnetMemoryPool()
        self._computations: dict[tuple[int, int, int], NnetComputation] = {}
        self._lock = threading.Lock()
        try:
            if not nnet.is_simple():
                raise ValueError(f"expected {SIMPLE_INTERFACE}")
            with np.errstate(all="ignore"):
                self._graph = build_graph(nnet)
            context = compute_simple_nnet_context(self._graph, nnet.modulus)
        except ValueError as error:
            raise ModelFormatError(f"{nnet.path}: this network cannot be computed: {error}") from error
        self.left_context, self.right_context = context
        step = int(np.lcm(nnet.modulus, opts.frame_subsampling_factor))
        self.frames_per_chunk = -(-opts.frames_per_chunk // step) * step

    def compute(
        self,
        features: NDArray[np.float32],
        ivectors: NDArray[np.float32] | None = None,
        ivector_period_frames: int = 10,
    ) -> NDArray[np.float32]:
        """Computes a recording.

        Args:
            features: (frames, input dimension) float32.
            ivectors: (n, i-vector dimension) float32; row r is for the frames from r * ivector_period_frames
                on. A single row serves all frames. None if the network has no i-vectors.
            ivector_period_frames: frames per i-vector.

        Returns:
            (ceil(frames / subsampling factor), output dimension) float32: log-likelihoods minus the
            logarithms of the priors, times the acoustic scale.

        Raises:
            ValueError: an input has the wrong shape, or i-vectors are missing or too many.
        """
        self._check(features, ivectors)
        factor, frames = self.opts.frame_subsampling_factor, len(features)
        rows_per_chunk = self.frames_per_chunk // factor
        rows = -(-frames // factor)
        nothing = np.empty(0, np.float32)
        blocks = [np.zeros((0, self._graph.values[self._graph.output].dim), np.float32)]
        for start in range(0, rows, rows_per_chunk):
            count = min(rows_per_chunk, rows - start)
            first, last = start * factor, (start + count - 1) * factor
            left, right = self._chunk_context(start == 0, start + count == rows)
            times = np.clip(np.arange(first - left, last + right + 1), 0, frames - 1)
            inputs = [np.ascontiguousarray(features[times], np.float32)]
            if ivectors is not None:
                row = min((first + (last - first) // 2) // ivector_period_frames, len(ivectors) - 1)
                inputs.append(np.ascontiguousarray(ivectors[row : row + 1], np.float32))
            computation = self._computation(count, left, right)
            blocks.append(np.empty(computation.output_shape, np.float32))
            computation.run(inputs, nothing, nothing, blocks[-1])
        return np.concatenate(blocks)

    def _check(self, features: NDArray[np.float32], ivectors: NDArray[np.float32] | None) -> None:
        if features.ndim != 2 or features.shape[1] != self._input_dim:
            raise ValueError(f"expected features of {self._input_dim} columns, found {features.shape}")
        if (ivectors is None) != (self._ivector_dim == 0):
            wanted, found = ("i-vectors", "none") if self._ivector_dim else ("no i-vectors", "some")
            raise ValueError(f"expected {wanted}, found {found}")
        if ivectors is not None and (ivectors.shape[1:] != (self._ivector_dim,) or len(ivectors) == 0):
            raise ValueError(f"expected i-vectors of {self._ivector_dim} columns, found {ivectors.shape}")

    def _chunk_context(self, is_first: bool, is_last: bool) -> tuple[int, int]:
        left, right = self.opts.extra_left_context, self.opts.extra_right_context
        if is_first and self.opts.extra_left_context_initial >= 0:
            left = self.opts.extra_left_context_initial
        if is_last and self.opts.extra_right_context_final >= 0:
            right = self.opts.extra_right_context_final
        return self.left_context + left, self.right_context + right

    def _computation(self, rows: int, left: int, right: int) -> NnetComputation:
        key = (rows, left, right)
        with self._lock:
            if key not in self._computations:
                factor = self.opts.frame_subsampling_factor
                output = [(row * factor, 0) for row in range(rows)]
                inputs = [(t, 0) for t in range(-left, (rows - 1) * factor + right + 1)]
                plan = plan_single(self._graph, ChunkRequest({"input": inputs, "ivector": [(0, 0)]}, output))
                self._computations[key] = compile_chunk(
                    plan, 0, self._pool, self._log_priors, self.opts.acoustic_scale
                )
            return self._computations[key]

"""Log-likelihoods of an nnet2 network on a stream (``nnet2/online-nnet2-decodable.cc``).

    log-likelihood of a pdf = acoustic scale * (log(max(p, 1e-20)) - log(prior of the pdf))

where p is the network's output; the result is not normalised after the division by the priors.
"""

from dataclasses import dataclass

import numpy as np

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.feat.online_feature import OnlineFeatureInterface
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet2.am_nnet import AmNnet
from pykaldi_server.kaldi.nnet2.component import PROBABILITY_FLOOR, FloatFrames
from pykaldi_server.kaldi.nnet2.nnet import NnetOnlineComputer
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option

__all__ = ["DecodableNnet2Online", "DecodableNnet2OnlineOptions"]


@dataclass
class DecodableNnet2OnlineOptions(Options):
    """Options of `DecodableNnet2Online`, with Kaldi's defaults."""

    acoustic_scale: float = option(
        0.1, "Scale of acoustic log-likelihoods; larger trusts the acoustics more."
    )
    pad_input: bool = option(True, "Repeat the first and last frame, so that every frame has an output.")
    max_nnet_batch_size: int = option(256, "Maximum number of frames that the network computes at once.")

    def validate(self) -> None:
        if self.max_nnet_batch_size < 1:
            raise ConfigError(f"max-nnet-batch-size: expected at least 1, found {self.max_nnet_batch_size}")
        require_finite_options(self)
        if self.acoustic_scale <= 0:
            raise ConfigError(f"acoustic-scale: expected a positive number, found {self.acoustic_scale}")


class DecodableNnet2Online:
    """Scores the frames of one stream of features, each frame once and in order.

    Owned by one stream; only one thread may use it at a time.

    A network that reads an i-vector is computed again, with all its context, for every block of frames:
    i-vectors change during the stream, and in Kaldi all frames of a block see the i-vector at the time when
    the block is computed. Other networks keep earlier activations, which gives the same numbers.
    """

    def __init__(
        self,
        nnet: AmNnet,
        trans_model: TransitionModel,
        opts: DecodableNnet2OnlineOptions,
        input_feats: OnlineFeatureInterface,
    ):
        """Starts at the first frame of ``input_feats``.

        Raises:
            ConfigError: an option is invalid.
            ModelFormatError: network, transition model and features do not fit together.
        """
        opts.validate()
        if not len(nnet.priors) == nnet.num_pdfs() == trans_model.num_pdfs():
            raise ModelFormatError(
                f"expected outputs and priors of {trans_model.num_pdfs()} pdfs, as the transition model has, "
                f"found {nnet.num_pdfs()} outputs and {len(nnet.priors)} priors"
            )
        if input_feats.dim() != nnet.nnet.input_dim():
            raise ModelFormatError(
                f"expected features of dimension {nnet.nnet.input_dim()}, found {input_feats.dim()}"
            )
        self._nnet = nnet.nnet
        self._log_priors = np.log(nnet.priors)
        self._opts = opts
        self._features = input_feats
        self._left = nnet.nnet.left_context()
        self._right = nnet.nnet.right_context()
        self._num_computed = 0
        self._computer: NnetOnlineComputer | None = None
        if not self._nnet.has_constant_part():
            self._computer = NnetOnlineComputer(self._nnet, opts.pad_input)
        self._num_fed = 0
        self._pending = np.zeros((0, nnet.num_pdfs()), np.float32)

    def num_frames_ready(self) -> int:
        """Returns the number of frames that can be scored so far, counted from the start of the stream."""
        ready = self._features.num_frames_ready()
        if not self._opts.pad_input:
            return max(0, ready - self._left - self._right)
        if ready > 0 and self._features.is_last_frame(ready - 1):
            return ready
        return max(0, ready - self._right)

    def is_last_frame(self, frame: int) -> bool:
        """True if the input has finished and ``frame`` is the last frame that can be scored."""
        if self._opts.pad_input:
            return self._features.is_last_frame(frame)
        return self._features.is_last_frame(frame + self._left + self._right)

    def advance(self) -> FloatFrames:
        """Scores the frames that became ready since the last call.

        Returns:
            (frames, num_pdfs) float32, scaled; empty if no new frames are ready.
        """
        begin, end = self._num_computed, self.num_frames_ready()
        compute = self._compute_on if self._computer else self._compute_afresh
        blocks = [self._pending[:0]]
        for first in range(begin, end, self._opts.max_nnet_batch_size):
            blocks.append(compute(first, min(end, first + self._opts.max_nnet_batch_size)))
        self._num_computed = end
        log_likelihoods = np.log(np.maximum(np.concatenate(blocks), np.float32(PROBABILITY_FLOOR)))
        log_likelihoods -= self._log_priors
        with np.errstate(over="ignore"):
            log_likelihoods *= np.float32(self._opts.acoustic_scale)
        return log_likelihoods

    def _compute_afresh(self, begin: int, end: int) -> FloatFrames:
        """Computes a block from the features of its whole context."""
        ready = self._features.num_frames_ready()
        first = begin - self._left if self._opts.pad_input else begin
        last = first + self._left + (end - begin) + self._right
        frames = self._features.get_frames(max(0, first), min(last, ready))
        padding = (max(0, -first), max(0, last - ready))
        return self._nnet.compute(np.pad(frames, (padding, (0, 0)), mode="edge"), pad_input=False)

    def _compute_on(self, begin: int, end: int) -> FloatFrames:
        """Computes a block with the computer, which keeps earlier activations."""
        assert self._computer is not None
        needed = end + self._right + (0 if self._opts.pad_input else self._left)
        features = self._features.get_frames(
            self._num_fed, max(self._num_fed, min(needed, self._features.num_frames_ready()))
        )
        self._num_fed += len(features)
        outputs = np.concatenate([self._pending, self._computer.compute(features)])
        if len(outputs) < end - begin:  # the remaining frames need copies of the last frame
            outputs = np.concatenate([outputs, self._computer.flush()])
        self._pending = outputs[end - begin :]
        return outputs[: end - begin]

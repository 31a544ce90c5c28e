"""Online decoding of one utterance with a GMM and basis fMLLR (``online2/online-gmm-decoding.cc``).

Decoding begins with the alignment model. At certain times, and at the end, a transform is estimated from what
has been decoded so far; from then on frames are scored with transformed features and the main model:

1. The lattice so far, pruned and determinised, gives posteriors of the pdfs; silence has a low weight.
2. The posteriors are distributed among the Gaussians, using the model and features that were decoded with.
3. The first estimate freezes CMVN. Statistics are collected on features without any transform; each estimate
   starts again from the statistics of the speaker's earlier utterances.
4. `BasisFmllrEstimate` improves the transform.

At the end the lattice is rescored with the final transform; nothing is decoded twice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi._core import BestPath
from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.feat.online_feature import FloatFrames
from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst, LatticeVectorFst
from pykaldi_server.kaldi.lat.functions import (
    convert_compact_lattice_to_lattice,
    determinize_lattice_phone_pruned,
    determinize_lattice_pruned,
    lattice_forward_backward,
    prune_lattice,
    rescore_lattice,
    top_sort_lattice_if_needed,
)
from pykaldi_server.kaldi.online2.endpoint import OnlineEndpointConfig, decoding_endpoint_detected
from pykaldi_server.kaldi.online2.feature_pipeline import OnlineFeaturePipeline
from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
from pykaldi_server.kaldi.online2.gmm_decodable import DecodableDiagGmmScaledOnline
from pykaldi_server.kaldi.online2.gmm_models import OnlineGmmDecodingConfig, OnlineGmmDecodingModels
from pykaldi_server.kaldi.transform import FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.options import parse_int_list

__all__ = ["SingleUtteranceGmmDecoder"]


# Number of frames whose posteriors of all Gaussians are in memory at the same time.
_BLOCK_FRAMES = 64
# Transforms that differ by less than this fraction of their norm count as equal (MatrixBase::ApproxEqual).
_SAME_TRANSFORM = 0.01


@dataclass(frozen=True)
class _PdfPosteriors:
    """The non-zero posteriors of pdfs, in the order of their frames; (n,) each."""

    frames: NDArray[np.intp]
    pdfs: NDArray[np.int32]
    weights: NDArray[np.float32]

    def block(self, begin: int, end: int, num_pdfs: int) -> FloatFrames:
        """Returns the posteriors of the frames from ``begin`` up to ``end``, (end - begin, num_pdfs)."""
        first, last = np.searchsorted(self.frames, [begin, end])
        dense = np.zeros((end - begin, num_pdfs), np.float32)
        # Several transition-ids at one frame may have the same pdf.
        np.add.at(dense, (self.frames[first:last] - begin, self.pdfs[first:last]), self.weights[first:last])
        return dense


class SingleUtteranceGmmDecoder:
    """Decodes one utterance; audio goes to `feature_pipeline`.

    Owned by one stream; only one thread may use it at a time.
    """

    def __init__(
        self,
        config: OnlineGmmDecodingConfig,
        models: OnlineGmmDecodingModels,
        feature_prototype: OnlineFeaturePipeline,
        fst: DecodingGraph,
        adaptation_state: OnlineGmmAdaptationState,
    ):
        """Starts an utterance.

        Args:
            config: options.
            models: the models.
            feature_prototype: a new pipeline of its kind is created for this utterance.
            fst: the decoding graph, HCLG.
            adaptation_state: what is known about the speaker; it is not modified.

        Raises:
            AdaptationStateError: the state is for other features, or its statistics cannot come from audio.
            ModelFormatError: features and models do not fit together.
            ConfigError: the graph has transition-ids that the model does not have.
        """
        self._config = config
        self._models = models
        trans_model = models.get_transition_model()
        silence_phones = parse_int_list(config.silence_phones, "silence-phones")
        weights = np.where(np.isin(trans_model.id2phone, silence_phones), config.silence_weight, 1.0)
        self._weight_of_id = weights.astype(np.float32)
        self._features = feature_prototype.new()
        self._decodable(models.get_model())  # checks that the features fit
        adaptation_state.check(models.get_model())
        self._initial_state = adaptation_state
        self._transform = adaptation_state.transform
        self._spk_stats = self._initial_stats()
        self._features.set_transform(self._transform)
        self._decoder = LatticeFasterOnlineDecoder(fst, config.faster_decoder_opts, trans_model.id2pdf)

    def feature_pipeline(self) -> OnlineFeaturePipeline:
        """Returns the features of this utterance, which accept the samples."""
        return self._features

    def decoder(self) -> LatticeFasterOnlineDecoder:
        """Returns the search of this utterance."""
        return self._decoder

    def have_transform(self) -> bool:
        """True if an fMLLR transform is in use."""
        return self._features.have_fmllr_transform()

    def advance_decoding(self) -> None:
        """Decodes all frames that are ready, and estimates a transform if one is due.

        Raises:
            DecoderError: decoding has been finalized, or no path survives.
        """
        decodable = self._decodable(self._model_in_use())
        begin, end = self._decoder.num_frames_decoded(), decodable.num_frames_ready()
        self._decoder.advance_decoding(decodable.log_likelihoods(begin, end))
        shift = np.float32(self._features.frame_shift_in_seconds())
        due = self._config.adaptation_policy_opts.do_adapt(
            float(begin * shift), float(end * shift), is_first_utterance=self._initial_state.transform is None
        )
        if due and self._models.get_fmllr_basis() is not None:
            self.estimate_fmllr(end_of_utterance=False)

    def finalize_decoding(self) -> None:
        """Prunes the lattice exactly and with final costs; no more frames can be decoded."""
        self._decoder.finalize_decoding()

    def estimate_fmllr(self, end_of_utterance: bool) -> None:
        """Estimates a transform from all frames decoded so far and uses it from now on.

        Does nothing if no frames have been decoded.

        Args:
            end_of_utterance: include the final costs of the lattice.

        Raises:
            ConfigError: the configuration names no basis.
        """
        basis = self._models.get_fmllr_basis()
        if basis is None:
            raise ConfigError("fmllr-basis: expected a file, which estimating a transform needs, found none")
        if self._decoder.num_frames_decoded() == 0:
            return
        linear, quadratic, counts = self._gaussian_sums(self._pdf_posteriors(end_of_utterance))
        self._spk_stats = self._initial_stats()
        self._features.set_transform(None)
        if self._transform is None:
            self._features.freeze_cmvn()
        self._spk_stats.accumulate(self._features.get_frames(0, len(counts)), linear, quadratic, counts)
        self._transform = basis.compute_transform(self._spk_stats, self._transform, self._config.basis_opts)
        self._features.set_transform(self._transform)

    def get_adaptation_state(self) -> OnlineGmmAdaptationState:
        """Returns what has been learned about the speaker, for the next utterance."""
        return OnlineGmmAdaptationState(
            self._transform, self._features.get_cmvn_state(), self._spk_stats.copy()
        )

    def get_lattice(self, rescore_if_needed: bool, end_of_utterance: bool) -> CompactLatticeVectorFst:
        """Returns the lattice, determinised; its acoustic costs are scaled.

        Args:
            rescore_if_needed: rescore it with the final model and transform unless it was decoded with these.
            end_of_utterance: include final costs.
        """
        lattice: LatticeVectorFst = self._decoder.get_raw_lattice(end_of_utterance)
        if rescore_if_needed and self._rescoring_is_needed():
            decodable = self._decodable(self._models.get_final_model())
            scores = decodable.log_likelihoods(0, self._decoder.num_frames_decoded())
            rescore_lattice(scores, self._models.get_transition_model().id2pdf, lattice)
        lattice_beam = self._config.faster_decoder_opts.lattice_beam
        prune_lattice(lattice_beam, lattice)
        return determinize_lattice_phone_pruned(
            lattice, self._models.get_transition_model(), lattice_beam, self._config.det_opts
        )

    def get_best_path(self, end_of_utterance: bool) -> BestPath:
        """Returns the best path of the search so far, without rescoring.

        Args:
            end_of_utterance: end in a final state and include its cost, if a final state is active.
        """
        return self._decoder.get_best_path(end_of_utterance)

    def final_relative_cost(self) -> float:
        """Returns the best final token's cost relative to the best token; inf if no final state is active."""
        return self._decoder.final_relative_cost()

    def endpoint_detected(self, config: OnlineEndpointConfig) -> bool:
        """Returns whether the utterance has ended."""
        return decoding_endpoint_detected(
            config,
            self._models.get_transition_model(),
            self._features.frame_shift_in_seconds(),
            self._decoder,
        )

    def _initial_stats(self) -> FmllrDiagGmmAccs:
        """Statistics of the speaker's earlier utterances."""
        if self._initial_state.spk_stats is None:
            return FmllrDiagGmmAccs.zero(self._features.dim())
        return self._initial_state.spk_stats.copy()

    def _model_in_use(self) -> AmDiagGmm:
        return (
            self._models.get_model() if self.have_transform() else self._models.get_online_alignment_model()
        )

    def _decodable(self, model: AmDiagGmm) -> DecodableDiagGmmScaledOnline:
        return DecodableDiagGmmScaledOnline(model, self._config.acoustic_scale, self._features)

    def _pdf_posteriors(self, end_of_utterance: bool) -> "_PdfPosteriors":
        beam = self._config.fmllr_lattice_beam
        lattice = self._decoder.get_raw_lattice(end_of_utterance)
        prune_lattice(beam, lattice)
        determinized = convert_compact_lattice_to_lattice(determinize_lattice_pruned(lattice, beam))
        top_sort_lattice_if_needed(determinized)
        _, posteriors, _ = lattice_forward_backward(determinized)
        ids = np.array([trans_id for frame in posteriors for trans_id, _ in frame], np.intp)
        weights = np.array([weight for frame in posteriors for _, weight in frame], np.float32)
        return _PdfPosteriors(
            np.repeat(np.arange(len(posteriors)), [len(frame) for frame in posteriors]),
            self._models.get_transition_model().id2pdf[ids],
            weights * self._weight_of_id[ids],
        )

    def _gaussian_sums(
        self, pdf_posteriors: "_PdfPosteriors"
    ) -> tuple[FloatFrames, FloatFrames, NDArray[np.float64]]:
        """Distributes posteriors among the Gaussians and sums the Gaussians' parameters for each frame.

        Returns:
            What `FmllrDiagGmmAccs.accumulate` takes besides the features.
        """
        in_use, model = self._model_in_use(), self._models.get_model()
        num_frames = self._decoder.num_frames_decoded()
        linear = np.zeros((num_frames, model.dim()), np.float32)
        quadratic = np.zeros_like(linear)
        counts = np.zeros(num_frames)
        for begin in range(0, num_frames, _BLOCK_FRAMES):
            end = min(begin + _BLOCK_FRAMES, num_frames)
            by_pdf = pdf_posteriors.block(begin, end, model.num_pdfs())
            posteriors = in_use.gaussian_posteriors(self._features.get_frames(begin, end), by_pdf)
            linear[begin:end], quadratic[begin:end] = model.weighted_parameters(posteriors)
            counts[begin:end] = posteriors.sum(axis=1, dtype=np.float64)
        return linear, quadratic, counts

    def _rescoring_is_needed(self) -> bool:
        before, now = self._initial_state.transform, self._transform
        if before is None or now is None:
            changed = before is not now
        else:
            changed = np.linalg.norm(before - now) > _SAME_TRANSFORM * np.linalg.norm(before)
        other_model = self._models.get_final_model() is not self._models.get_model()
        return bool(changed) or (now is not None and other_model)

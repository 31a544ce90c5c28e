"""Options and models of online GMM decoding (``online2/online-gmm-decoding.h``).

Three models share one set of pdfs. The *alignment* model was trained on features without adaptation and is
used until there is a transform; the main model was trained on adapted features; a *rescoring* model, such as
a discriminatively trained one, may score the final lattice.
"""

import os
from dataclasses import dataclass

import numpy as np

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat.functions import DeterminizeLatticePhonePrunedOptions
from pykaldi_server.kaldi.transform import BasisFmllrEstimate, BasisFmllrOptions
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import Options, group, option, parse_int_list

__all__ = [
    "OnlineGmmDecodingAdaptationPolicyConfig",
    "OnlineGmmDecodingConfig",
    "OnlineGmmDecodingModels",
    "read_gmm",
]


@dataclass
class OnlineGmmDecodingAdaptationPolicyConfig(Options):
    """When transforms are estimated during an utterance: at times in a geometric progression."""

    adaptation_first_utt_delay: float = option(
        2.0, "Time of the first estimate in a speaker's first utterance (s)."
    )
    adaptation_first_utt_ratio: float = option(
        1.5, "Ratio of consecutive times of estimates in that utterance; smaller adapts more often."
    )
    adaptation_delay: float = option(5.0, "Time of the first estimate in later utterances (s).")
    adaptation_ratio: float = option(
        2.0, "Ratio of consecutive times of estimates in later utterances; smaller adapts more often."
    )

    def validate(self) -> None:
        require_finite_options(self)
        if min(self.adaptation_first_utt_delay, self.adaptation_delay) <= 0:
            raise ConfigError(
                "adaptation-first-utt-delay, adaptation-delay: expected positive times, found "
                f"{self.adaptation_first_utt_delay}, {self.adaptation_delay}"
            )
        if min(self.adaptation_first_utt_ratio, self.adaptation_ratio) <= 1:
            raise ConfigError(
                "adaptation-first-utt-ratio, adaptation-ratio: expected more than 1, found "
                f"{self.adaptation_first_utt_ratio}, {self.adaptation_ratio}"
            )

    def do_adapt(self, chunk_begin_s: float, chunk_end_s: float, is_first_utterance: bool) -> bool:
        """Returns whether an estimate is due at a time from ``chunk_begin_s`` up to ``chunk_end_s``."""
        if is_first_utterance:
            delay_s, ratio = self.adaptation_first_utt_delay, self.adaptation_first_utt_ratio
        else:
            delay_s, ratio = self.adaptation_delay, self.adaptation_ratio
        # Single precision, as in Kaldi: chunks often end exactly when an estimate is due.
        delay = np.float32(delay_s)
        while delay < np.float32(chunk_begin_s):
            delay *= np.float32(ratio)
        return bool(delay < np.float32(chunk_end_s))


@dataclass
class OnlineGmmDecodingConfig(Options):
    """Options of online GMM decoding, as in a model's ``online_decoding.conf``."""

    fmllr_lattice_beam: float = option(
        3.0, "Beam of the lattices from which transforms are estimated; larger counts more alternatives."
    )
    basis_opts: BasisFmllrOptions = group(BasisFmllrOptions, prefix="basis.")
    faster_decoder_opts: LatticeFasterDecoderOptions = group(LatticeFasterDecoderOptions, prefix="")
    det_opts: DeterminizeLatticePhonePrunedOptions = group(DeterminizeLatticePhonePrunedOptions, prefix="")
    adaptation_policy_opts: OnlineGmmDecodingAdaptationPolicyConfig = group(
        OnlineGmmDecodingAdaptationPolicyConfig, prefix=""
    )
    online_alimdl_rxfilename: str = option(
        "", "Model file for features without adaptation.", name="online-alignment-model", path=True
    )
    model_rxfilename: str = option("", "Model file for adapted features; required.", name="model", path=True)
    rescore_model_rxfilename: str = option(
        "", "Model file for scoring final lattices.", name="rescore-model", path=True
    )
    fmllr_basis_rxfilename: str = option(
        "",
        "File of the basis of the transforms; without it there is no adaptation.",
        name="fmllr-basis",
        path=True,
    )
    acoustic_scale: float = option(
        0.1, "Scale of acoustic log-likelihoods; larger trusts the acoustics more."
    )
    silence_phones: str = option("", "Silence phones: integers separated by colons.")
    silence_weight: float = option(0.1, "Weight of silence frames when transforms are estimated.")

    def validate(self) -> None:
        self.basis_opts.validate()
        self.faster_decoder_opts.validate()
        self.adaptation_policy_opts.validate()
        parse_int_list(self.silence_phones, "silence-phones")
        require_finite_options(self)
        if not self.model_rxfilename:
            raise ConfigError("model: expected a file, found none")
        if self.fmllr_lattice_beam <= 0 or self.acoustic_scale <= 0 or self.silence_weight < 0:
            raise ConfigError(
                "fmllr-lattice-beam, acoustic-scale, silence-weight: expected positive, positive, at "
                "least 0, "
                f"found {self.fmllr_lattice_beam}, {self.acoustic_scale}, {self.silence_weight}"
            )


class OnlineGmmDecodingModels:
    """All models of a recogniser. Immutable, shared by all sessions."""

    def __init__(self, config: OnlineGmmDecodingConfig):
        """Loads the files that a configuration names.

        Raises:
            ConfigError: the configuration names no model.
            ModelFormatError: a file is damaged, or the models do not fit together.
            FileNotFoundError: there is no such file.
        """
        config.validate()
        self._trans_model, self._model = read_gmm(config.model_rxfilename)
        self._online_alignment_model = self._model
        self._final_model = self._model
        if config.online_alimdl_rxfilename:
            self._online_alignment_model = self._read_compatible(config.online_alimdl_rxfilename)
            if not self._online_alignment_model.has_same_gaussians(self._model):
                raise ModelFormatError(
                    f"{config.online_alimdl_rxfilename}: expected as many Gaussians per pdf as in "
                    f"{config.model_rxfilename} ({self._model.num_gauss()} in all), found "
                    f"{self._online_alignment_model.num_gauss()} in all"
                )
        if config.rescore_model_rxfilename:
            self._final_model = self._read_compatible(config.rescore_model_rxfilename)
        self._fmllr_basis: BasisFmllrEstimate | None = None
        if config.fmllr_basis_rxfilename:
            self._fmllr_basis = BasisFmllrEstimate.read(KaldiReader.open(config.fmllr_basis_rxfilename))
            if self._fmllr_basis.dim() != self._model.dim():
                raise ModelFormatError(
                    f"{config.fmllr_basis_rxfilename}: expected matrices for features of dimension "
                    f"{self._model.dim()}, found {self._fmllr_basis.dim()}"
                )

    def _read_compatible(self, path: str) -> AmDiagGmm:
        trans_model, model = read_gmm(path)
        if not np.array_equal(trans_model.id2pdf, self._trans_model.id2pdf):
            raise ModelFormatError(
                f"{path}: expected the {self._trans_model.num_transition_ids()} transition-ids of the "
                "main model, "
                f"found {trans_model.num_transition_ids()} that differ"
            )
        if model.dim() != self._model.dim():
            raise ModelFormatError(
                f"{path}: expected features of dimension {self._model.dim()}, found {model.dim()}"
            )
        return model

    def get_transition_model(self) -> TransitionModel:
        """Returns the transition model, which all models share."""
        return self._trans_model

    def get_online_alignment_model(self) -> AmDiagGmm:
        """Returns the model for features without adaptation."""
        return self._online_alignment_model

    def get_model(self) -> AmDiagGmm:
        """Returns the model for adapted features, also used to estimate transforms."""
        return self._model

    def get_final_model(self) -> AmDiagGmm:
        """Returns the model that scores final lattices."""
        return self._final_model

    def get_fmllr_basis(self) -> BasisFmllrEstimate | None:
        """Returns the basis of the transforms; None without adaptation."""
        return self._fmllr_basis


def read_gmm(path: str | os.PathLike[str]) -> tuple[TransitionModel, AmDiagGmm]:
    """Reads a GMM system's ``final.mdl``.

    Raises:
        ModelFormatError: the file is damaged or is of another kind.
        FileNotFoundError: there is no such file.
    """
    reader = KaldiReader.open(path)
    trans_model = TransitionModel.read(reader)
    start = reader.offset
    model = AmDiagGmm.read(reader)
    if model.num_pdfs() != trans_model.num_pdfs():
        raise reader.error(f"{trans_model.num_pdfs()} pdfs", str(model.num_pdfs()), start)
    return trans_model, model

"""GMM models in the directories that Kaldi's ``prepare_online_decoding.sh`` makes::

conf/online_decoding.conf     options and the names of all other files
final.mdl final.oalimdl       models for adapted features and for others
fmllr.basis final.mat global_cmvn.stats
graph/HCLG.fst, graph/words.txt
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pykaldi_server.kaldi.online2 import OnlineEndpointConfig
from pykaldi_server.kaldi.online2.feature_pipeline import (
    OnlineFeaturePipelineConfig,
    OnlineFeaturePipelineInfo,
)
from pykaldi_server.kaldi.online2.gmm_models import OnlineGmmDecodingConfig, OnlineGmmDecodingModels
from pykaldi_server.kaldi.util.options import Options, ParseOptions, group
from pykaldi_server.session.acoustics.gmm import GmmAcoustics
from pykaldi_server.session.formats.checks import check_silence_phones
from pykaldi_server.session.formats.graph_files import find_graph, model_name
from pykaldi_server.session.formats.layouts import GMM_CONFIG
from pykaldi_server.session.formats.source import ModelSource
from pykaldi_server.session.options import SessionOptions

__all__ = ["read_gmm_layout"]

# What Kaldi's scripts for GMMs pass to the decoder (steps/online/decode.sh).
_SCRIPT_OPTIONS = {
    "acoustic-scale": "0.083333",
    "beam": "13.0",
    "lattice-beam": "6.0",
    "max-active": "7000",
}


@dataclass
class GmmOptions(Options):
    """All options of a GMM model."""

    # Those of online2-wav-gmm-latgen-faster that are about its own input and output.
    without_effect: ClassVar[tuple[str, ...]] = ("chunk-length", "word-symbol-table")

    session: SessionOptions = group(SessionOptions, prefix="")
    features: OnlineFeaturePipelineConfig = group(OnlineFeaturePipelineConfig, prefix="")
    decoding: OnlineGmmDecodingConfig = group(OnlineGmmDecodingConfig, prefix="")
    endpoint: OnlineEndpointConfig = group(OnlineEndpointConfig, prefix="")

    def validate(self) -> None:
        self.session.validate()
        self.features.validate()
        self.decoding.validate()
        self.endpoint.validate()


def read_gmm_layout(directory: Path, graph: str | None, overrides: Mapping[str, str]) -> ModelSource:
    """Reads a model's acoustic side and finds its graph.

    Args:
        directory: the model's directory.
        graph: name of the graph's folder, or None for the default.
        overrides: options that win over those of the model.

    Raises:
        ConfigError: there is no such graph, a file cannot be found, or an option is wrong.
        ModelFormatError: a file is damaged, or the files do not fit together.
    """
    files = find_graph(directory, graph)
    options = GmmOptions()
    parser = ParseOptions()
    parser.register(options)
    for name, value in _SCRIPT_OPTIONS.items():
        parser.set(name, value, str(directory))
    parser.read_config_file(directory / GMM_CONFIG, directory)
    for name, value in overrides.items():
        parser.set(name, value, f"{directory}: override")
    parser.validate(directory / GMM_CONFIG)
    models = OnlineGmmDecodingModels(options.decoding)
    _check_silence(directory, options, parser.places, models)
    features = OnlineFeaturePipelineInfo.from_config(options.features, directory)
    return ModelSource(
        name=model_name(directory, files),
        acoustics=GmmAcoustics(models, features, options.decoding),
        graph=files.graph,
        words=files.words,
        phones=files.phones,
        word_boundary=files.word_boundary,
        align_lexicon=files.align_lexicon,
        session=options.session,
        endpoint=options.endpoint,
    )


def _check_silence(
    directory: Path, options: GmmOptions, places: Mapping[str, str], models: OnlineGmmDecodingModels
) -> None:
    """Checks the silence phones of endpoints, and those of the estimation of transforms."""
    for name, phones, are_needed in (
        ("endpoint.silence-phones", options.endpoint.silence_phones, options.session.do_endpointing),
        ("silence-phones", options.decoding.silence_phones, False),
    ):
        place = f"{places.get(name, directory / GMM_CONFIG)}: --{name}"
        check_silence_phones(place, phones, models.get_transition_model(), are_needed=are_needed)

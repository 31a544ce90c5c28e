"""Neural-network models in the directories that Kaldi's ``prepare_online_decoding.sh`` makes::

final.mdl                     nnet3 or nnet2
conf/online.conf              features, i-vectors, silence weighting, endpoints (nnet2 may have
                              conf/online_nnet2_decoding.conf in its place)
frame_subsampling_factor      chain models: a file with the number, if it is there
graph/HCLG.fst, graph/words.txt
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pykaldi_server.kaldi.online2 import OnlineNnetFeaturePipelineConfig, OnlineNnetFeaturePipelineInfo
from pykaldi_server.kaldi.util.options import Options, ParseOptions, group
from pykaldi_server.session.formats.graph_files import find_graph, first_of, model_name
from pykaldi_server.session.formats.layouts import NETWORK_CONFIGS
from pykaldi_server.session.formats.source import ModelSource, load_network, read_subsampling_factor
from pykaldi_server.session.options import NetworkOptions

__all__ = ["read_online_layout"]


@dataclass
class OnlineOptions(Options):
    """All options that ``online.conf`` may have."""

    # Those of Kaldi's online programs that are about their own input and output.
    without_effect: ClassVar[tuple[str, ...]] = (
        *("chunk-length", "online", "num-threads-startup", "word-symbol-table"),
        *("samp-freq", "port-num", "read-timeout", "output-period", "produce-time"),
    )

    features: OnlineNnetFeaturePipelineConfig = group(OnlineNnetFeaturePipelineConfig, prefix="")
    network: NetworkOptions = group(NetworkOptions, prefix="")

    def validate(self) -> None:
        self.features.validate()
        self.network.validate()


def read_online_layout(directory: Path, graph: str | None, overrides: Mapping[str, str]) -> ModelSource:
    """Reads a model's acoustic side and finds its graph.

    Args:
        directory: the model's directory.
        graph: name of the graph's folder, or None for the default.
        overrides: options that win over those of the model.

    Raises:
        ConfigError: there is no such graph, a file cannot be found, or an option is wrong.
        ModelFormatError: a file is damaged.
    """
    acoustic_model = first_of(directory, "an acoustic model", "final.mdl")
    files = find_graph(directory, graph)
    options = OnlineOptions()
    parser = ParseOptions()
    parser.register(options)
    config = first_of(directory, "a configuration", *map(str, NETWORK_CONFIGS))
    parser.read_config_file(config, directory)
    read_subsampling_factor(directory, parser)
    for name, value in overrides.items():
        parser.set(name, value, f"{directory}: override")
    if "do-endpointing" not in parser.given and not options.network.endpoint.silence_phones:
        # The endpoint rules wait for silence, so they cannot work.
        options.network.session.do_endpointing = False
    parser.validate(config)
    features = OnlineNnetFeaturePipelineInfo.from_config(options.features, directory)
    return ModelSource(
        name=model_name(directory, files),
        acoustics=load_network(acoustic_model, features, options.network, parser.places),
        graph=files.graph,
        words=files.words,
        phones=files.phones,
        word_boundary=files.word_boundary,
        align_lexicon=files.align_lexicon,
        session=options.network.session,
        endpoint=options.network.endpoint,
    )

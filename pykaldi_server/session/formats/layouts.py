"""Which format a model has, by the names of its files.

Only the reader of that format has to be imported then.
"""

from pathlib import Path

from pykaldi_server.kaldi.online2.base_feature import OPTIONS_OF_TYPE
from pykaldi_server.kaldi.util.options import normalize_name, read_config_lines
from pykaldi_server.session.formats.graph_files import optional

__all__ = [
    "GMM_CONFIG",
    "NETWORK_CONFIGS",
    "YAML_SUFFIXES",
    "has_model",
    "is_gmm_layout",
    "is_online_layout",
    "is_vosk_layout",
]

YAML_SUFFIXES = (".yaml", ".yml")
"""How the names of YAML files of kaldi-gstreamer-server end."""

GMM_CONFIG = Path("conf") / "online_decoding.conf"
"""The configuration of online decoding with Gaussian mixtures, inside a model's directory."""

NETWORK_CONFIGS = (Path("conf") / "online.conf", Path("conf") / "online_nnet2_decoding.conf")
"""Configurations of online decoding with a neural network, of which a directory has one."""


def is_vosk_layout(directory: Path) -> bool:
    """Whether a directory is laid out as Vosk's models are; it may have Kaldi's configurations, too."""
    if (directory / "am" / "final.mdl").exists():
        return True
    features = optional(*(directory / f"{feature_type}.conf" for feature_type in OPTIONS_OF_TYPE))
    if features is None or not (directory / "final.mdl").exists():
        return False
    configs = (directory / config for config in (*NETWORK_CONFIGS, GMM_CONFIG))
    return not any(_names_features(config) for config in configs if config.exists())


def is_gmm_layout(directory: Path) -> bool:
    """Whether a directory has the configuration of online decoding with Gaussian mixtures."""
    return (directory / GMM_CONFIG).exists()


def is_online_layout(directory: Path) -> bool:
    """Whether a directory has the configuration of online decoding with a neural network."""
    return optional(*(directory / config for config in NETWORK_CONFIGS)) is not None


def has_model(directory: Path) -> bool:
    """Whether a directory is laid out in one of these ways."""
    return is_vosk_layout(directory) or is_gmm_layout(directory) or is_online_layout(directory)


def _names_features(config: Path) -> bool:
    """Whether a configuration of Kaldi's programs is complete: one that is names that of the features."""
    names = {f"{feature_type}-config" for feature_type in OPTIONS_OF_TYPE}
    return any(normalize_name(name) in names for name, _, _ in read_config_lines(config))

"""What all pipelines share: base features (MFCC, PLP or filter bank) computed from samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.fbank import FbankOptions, OnlineFbank
from pykaldi_server.kaldi.feat.feature_window import OnlineWindowedFeature
from pykaldi_server.kaldi.feat.mfcc import MfccOptions, OnlineMfcc
from pykaldi_server.kaldi.feat.online_feature import (
    OnlineBaseFeature,
    OnlineDerivedFeature,
    OnlineFeatureInterface,
)
from pykaldi_server.kaldi.feat.plp import OnlinePlp, PlpOptions
from pykaldi_server.kaldi.util.options import Options, OptionsT, option, read_options

__all__ = [
    "OPTIONS_OF_TYPE",
    "BaseFeatureConfig",
    "BaseOptions",
    "SamplesPipeline",
    "make_base_feature",
    "read_or_default",
]

BaseOptions = MfccOptions | PlpOptions | FbankOptions

OPTIONS_OF_TYPE: dict[str, type[BaseOptions]] = {
    "mfcc": MfccOptions,
    "plp": PlpOptions,
    "fbank": FbankOptions,
}


@dataclass
class BaseFeatureConfig(Options):
    """Options that choose the base features."""

    feature_type: str = option("mfcc", f"Kind of base features: {', '.join(OPTIONS_OF_TYPE)}.")
    mfcc_config: str = option("", "Configuration file of MFCC.", path=True)
    plp_config: str = option("", "Configuration file of PLP.", path=True)
    fbank_config: str = option("", "Configuration file of filter-bank features.", path=True)

    def validate(self) -> None:
        if self.feature_type not in OPTIONS_OF_TYPE:
            raise ConfigError(
                f"feature-type: expected one of {', '.join(OPTIONS_OF_TYPE)}, found {self.feature_type!r}"
            )

    def read_base_options(self, model_dir: Path | None) -> BaseOptions:
        """Reads the configuration file of the chosen features; returns the defaults if none is named."""
        path = getattr(self, f"{self.feature_type}_config")
        return read_or_default(OPTIONS_OF_TYPE[self.feature_type], path, model_dir)


def read_or_default(options_class: type[OptionsT], path: str, model_dir: Path | None) -> OptionsT:
    """Reads options from a file; returns the defaults if the path is empty."""
    return read_options(options_class, path, model_dir) if path else options_class()


def make_base_feature(opts: BaseOptions, dither_seed: int = 0) -> OnlineWindowedFeature:
    """Makes the base features of a stream; `OnlineWindowedFeature.new` starts further ones faster."""
    if isinstance(opts, MfccOptions):
        return OnlineMfcc(opts, dither_seed)
    if isinstance(opts, PlpOptions):
        return OnlinePlp(opts, dither_seed)
    return OnlineFbank(opts, dither_seed)


class SamplesPipeline(OnlineDerivedFeature):
    """A chain of features that accepts samples at one end and returns frames at the other."""

    def __init__(self, final: OnlineFeatureInterface, sources: Sequence[OnlineBaseFeature]):
        """Takes the last feature of the chain and all features that are computed from samples."""
        super().__init__(final)
        self._sources = sources

    def accept_waveform(self, samp_freq: float, waveform: NDArray[np.float32]) -> None:
        """Accepts samples; see `OnlineBaseFeature.accept_waveform`."""
        for source in self._sources:
            source.accept_waveform(samp_freq, waveform)

    def input_finished(self) -> None:
        """Marks the end of the input."""
        for source in self._sources:
            source.input_finished()

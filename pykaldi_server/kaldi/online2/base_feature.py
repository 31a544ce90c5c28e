"""What all pipelines have: a choice of base features (MFCC, PLP or a filter bank), fed with samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.mfcc import FbankOptions, MfccOptions, OnlineFbank, OnlineMfcc
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

    feature_type: str = option("mfcc", f"Base features: {', '.join(OPTIONS_OF_TYPE)}.")
    mfcc_config: str = option("", "Configuration of MFCC.", path=True)
    plp_config: str = option("", "Configuration of PLP.", path=True)
    fbank_config: str = option("", "Configuration of filter-bank features.", path=True)

    def validate(self) -> None:
        """Raises `ConfigError` where a value makes no sense."""
        if self.feature_type not in OPTIONS_OF_TYPE:
            raise ConfigError(
                f"feature-type: expected one of {', '.join(OPTIONS_OF_TYPE)}, found {self.feature_type!r}"
            )

    def read_base_options(self, model_dir: Path | None) -> BaseOptions:
        """Reads the configuration of the chosen features; the defaults where none is named."""
        path = getattr(self, f"{self.feature_type}_config")
        return read_or_default(OPTIONS_OF_TYPE[self.feature_type], path, model_dir)


def read_or_default(options_class: type[OptionsT], path: str, model_dir: Path | None) -> OptionsT:
    """Reads options from a file; without a path they have their defaults."""
    return read_options(options_class, path, model_dir) if path else options_class()


def make_base_feature(opts: BaseOptions, dither_seed: int = 0) -> OnlineBaseFeature:
    """Makes the base features of a new stream."""
    if isinstance(opts, MfccOptions):
        return OnlineMfcc(opts, dither_seed)
    if isinstance(opts, PlpOptions):
        return OnlinePlp(opts, dither_seed)
    return OnlineFbank(opts, dither_seed)


class SamplesPipeline(OnlineDerivedFeature):
    """A chain of features that is fed with samples at one end and asked for frames at the other."""

    def __init__(self, final: OnlineFeatureInterface, sources: Sequence[OnlineBaseFeature]):
        """Takes the last feature of the chain, and all that are computed from samples."""
        super().__init__(final)
        self._sources = sources

    def accept_waveform(self, samp_freq: float, waveform: NDArray[np.float32]) -> None:
        """Takes samples; see `OnlineBaseFeature.accept_waveform`."""
        for source in self._sources:
            source.accept_waveform(samp_freq, waveform)

    def input_finished(self) -> None:
        """Says that no more samples come."""
        for source in self._sources:
            source.input_finished()

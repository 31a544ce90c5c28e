"""Options of the pitch features that a network may read beside the base features."""

from dataclasses import dataclass

from pykaldi_server.kaldi.feat.pitch import PitchExtractionOptions, ProcessPitchOptions
from pykaldi_server.kaldi.util.options import Options, group

__all__ = ["PitchOptions"]


@dataclass
class PitchOptions(Options):
    """Options of pitch features, as in ``online_pitch.conf``."""

    extraction: PitchExtractionOptions = group(PitchExtractionOptions, prefix="")
    processing: ProcessPitchOptions = group(ProcessPitchOptions, prefix="")

    def validate(self) -> None:
        self.extraction.validate()
        self.processing.validate()

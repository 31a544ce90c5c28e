"""How speech is distinguished from silence: what `vad` can be told, without the detector itself."""

from dataclasses import dataclass

from pykaldi_server.errors import ConfigError
from pykaldi_server.options import Settings, check_range, option

__all__ = ["VadOptions"]

_FRAMES_MS = (10, 20, 30)


@dataclass(frozen=True)
class VadOptions(Settings):
    """How speech is distinguished from silence."""

    aggressiveness: int = option(
        2, "How readily frames count as silence, from 0 (least) to 3 (most); higher values miss quiet speech."
    )
    frame_ms: int = option(30, "Length of the frames that are judged: 10, 20 or 30 ms.")
    min_speech_ms: int = option(90, "Shortest speech that starts a segment; longer ignores more noises.")
    hangover_ms: int = option(600, "Shortest silence that ends a segment; longer joins more sentences.")
    padding_ms: int = option(300, "Audio kept before and after the speech; at most the hang-over.")

    def validate(self) -> None:
        check_range(self, "aggressiveness", 0, 3)
        if self.frame_ms not in _FRAMES_MS:
            raise ConfigError(f"frame_ms: expected 10, 20 or 30, found {self.frame_ms}")
        check_range(self, "min_speech_ms", self.frame_ms, 10_000)
        check_range(self, "hangover_ms", self.frame_ms, 60_000)
        check_range(self, "padding_ms", 0, self.hangover_ms)

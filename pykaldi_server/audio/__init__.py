"""From bytes, as clients and files have them, to float32 samples at a model's rate."""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.audio.decoder import AudioDecoder
    from pykaldi_server.audio.files import iterate_audio_file, read_audio_file

__all__ = ["AudioDecoder", "iterate_audio_file", "read_audio_file"]

_MODULES = {
    "pykaldi_server.audio.decoder": ("AudioDecoder",),
    "pykaldi_server.audio.files": ("iterate_audio_file", "read_audio_file"),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)

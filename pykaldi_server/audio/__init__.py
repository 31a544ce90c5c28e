"""From bytes, as clients and files have them, to float32 samples at a model's rate."""

from pykaldi_server.audio.decoder import AudioDecoder
from pykaldi_server.audio.files import iterate_audio_file, read_audio_file

__all__ = ["AudioDecoder", "iterate_audio_file", "read_audio_file"]

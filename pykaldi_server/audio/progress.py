"""What the decoding of a container says of itself, for those who do not decode it themselves."""

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass
class Progress:
    """How far the decoding of a container has come; written by `ffmpeg.decode_container`.

    Attributes:
        description: what is being decoded, for people.
        num_samples: samples decoded so far.
        num_damaged_packets: packets skipped so far because they could not be decoded.
    """

    description: str
    num_samples: int = 0
    num_damaged_packets: int = 0

"""The components of nnet3 networks, one file per family. Importing this package registers all of them."""

from pykaldi_server.kaldi.nnet3.components import (
    affine,
    attention,
    convolution,
    elementwise,
    groups,
    recurrent,
    statistics,
)
from pykaldi_server.kaldi.nnet3.components.base import Component, Kernel, Window, read_component

__all__ = [
    "Component",
    "Kernel",
    "Window",
    "affine",
    "attention",
    "convolution",
    "elementwise",
    "groups",
    "read_component",
    "recurrent",
    "statistics",
]

"""HMM topologies and transition models (``src/hmm``)."""

from pykaldi_server.kaldi.hmm.hmm_topology import HmmState, HmmTopology
from pykaldi_server.kaldi.hmm.transition_model import TransitionModel

__all__ = ["HmmState", "HmmTopology", "TransitionModel"]

"""Transition-ids: what the input labels of a decoding graph mean (``hmm/transition-model.cc``).

A *transition-state* is a tuple (phone, HMM state, forward pdf, self-loop pdf); a *transition-id* is one
transition out of a transition-state. Both count from 1, in the order of the sorted tuples and, within a
tuple, of the topology's transitions; 0 is epsilon. A transition-id thus determines its phone, its HMM
state and the pdf that scores a frame spent on it: the self-loop pdf if the transition leads back to its
own state, else the forward pdf.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.hmm.hmm_topology import HmmTopology
from pykaldi_server.kaldi.util.finite import read_finite_vector
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

__all__ = ["TransitionModel"]

# Kaldi accepts probabilities slightly above 1 as rounding errors.
_MAX_LOG_PROB = 0.01


class TransitionModel:
    """The transition model at the head of every ``final.mdl``. Immutable, shared by all sessions.

    The arrays are indexed by transition-id and are read-only; entry 0 is epsilon.

    Attributes:
        topology: the shapes of the phones' HMMs.
        tuples: (transition-states, 4) int32: phone, HMM state, forward pdf, self-loop pdf.
        id2state: transition-state (from 1), int32.
        id2phone: phone, int32.
        id2hmm_state: number of the HMM state that the transition leaves, int32.
        id2pdf: pdf that scores a frame on this transition, int32; -1 for epsilon.
        id2self_loop: bool, the transition leads back to its own state.
        id2final: bool, the transition leads to the final state of the phone.
        id2phone_start: bool, the transition leaves HMM state 0 and is not a self-loop. Each instance of a
            phone has exactly one; lattice determinisation inserts the phone's label there.
        log_probs: log-probability of the transition, float32.
    """

    def __init__(self, topology: HmmTopology, tuples: NDArray[np.int32], log_probs: NDArray[np.float32]):
        """Derives the arrays; the arguments must satisfy what `read` checks."""
        self.topology = topology
        self.tuples = tuples
        phone, hmm_state, forward_pdf, self_loop_pdf = tuples.T
        num_transitions, first, destinations, num_states = _flatten(topology, phone, hmm_state)
        # Row r of `tuples` is transition-state r + 1; it is repeated for each of its transitions.
        row = np.repeat(np.arange(len(tuples)), num_transitions)
        first_id = np.cumsum(num_transitions) - num_transitions
        destination = destinations[first[row] + np.arange(len(row)) - first_id[row]]
        self_loop = destination == hmm_state[row]
        self.id2state = _with_epsilon(row + 1, 0, np.int32)
        self.id2phone = _with_epsilon(phone[row], 0, np.int32)
        self.id2hmm_state = _with_epsilon(hmm_state[row], -1, np.int32)
        self.id2pdf = _with_epsilon(np.where(self_loop, self_loop_pdf[row], forward_pdf[row]), -1, np.int32)
        self.id2self_loop = _with_epsilon(self_loop, False, np.bool_)
        self.id2final = _with_epsilon(destination + 1 == num_states[row], False, np.bool_)
        self.id2phone_start = _with_epsilon((hmm_state[row] == 0) & ~self_loop, False, np.bool_)
        self.log_probs = log_probs
        self._num_pdfs = int(max(forward_pdf.max(), self_loop_pdf.max())) + 1

    def num_pdfs(self) -> int:
        """Returns the number of pdfs (one more than the largest)."""
        return self._num_pdfs

    def num_phones(self) -> int:
        """Returns the largest phone."""
        return int(self.id2phone.max())

    def num_transition_states(self) -> int:
        """Returns the number of transition-states, which count from 1."""
        return len(self.tuples)

    def num_transition_ids(self) -> int:
        """Returns the number of transition-ids, which count from 1."""
        return len(self.id2pdf) - 1

    def transition_id_to_transition_state(self, trans_id: int) -> int:
        """Returns the transition-state of a transition-id."""
        return int(self.id2state[trans_id])

    def transition_id_to_phone(self, trans_id: int) -> int:
        """Returns the phone of a transition-id."""
        return int(self.id2phone[trans_id])

    def transition_id_to_hmm_state(self, trans_id: int) -> int:
        """Returns the number of the HMM state that a transition-id leaves."""
        return int(self.id2hmm_state[trans_id])

    def transition_id_to_pdf(self, trans_id: int) -> int:
        """Returns the pdf of a transition-id."""
        return int(self.id2pdf[trans_id])

    def is_self_loop(self, trans_id: int) -> bool:
        """True if a transition-id leads back to its own state."""
        return bool(self.id2self_loop[trans_id])

    def is_final(self, trans_id: int) -> bool:
        """True if a transition-id leads to the final state of its phone."""
        return bool(self.id2final[trans_id])

    def get_phones(self) -> list[int]:
        """Returns the phones of the topology, in increasing order."""
        return self.topology.get_phones()

    def get_transition_log_prob(self, trans_id: int) -> float:
        """Returns the log-probability of a transition-id."""
        return float(self.log_probs[trans_id])

    @classmethod
    def read(cls, reader: KaldiReader) -> "TransitionModel":
        """Reads a transition model, with ``<Triples>`` or ``<Tuples>``.

        Raises:
            ModelFormatError: the bytes are not a transition model.
        """
        reader.expect_token("<TransitionModel>")
        topology = HmmTopology.read(reader)
        kind = reader.expect_token("<Triples>", "<Tuples>")
        count = reader.read_count(kind.strip("<>").lower(), at_most=reader.remaining)
        start = reader.offset
        tuples = reader.read_int_table(count, 3 if kind == "<Triples>" else 4)
        if kind == "<Triples>":
            tuples = tuples[:, [0, 1, 2, 2]]
        _check_tuples(reader, topology, tuples, start)
        reader.expect_token(kind.replace("<", "</"))
        reader.expect_token("<LogProbs>")
        start = reader.offset
        log_probs = read_finite_vector(reader, "the log-probabilities", np.float32)
        model = cls(topology, tuples, log_probs)
        if len(log_probs) != model.num_transition_ids() + 1:
            raise reader.error(
                f"{model.num_transition_ids() + 1} log-probabilities", str(len(log_probs)), start
            )
        if (log_probs > _MAX_LOG_PROB).any():
            raise reader.error("log-probabilities of at most 0", str(log_probs.max()), start)
        reader.expect_token("</LogProbs>")
        reader.expect_token("</TransitionModel>")
        return model

    def write(self, writer: KaldiWriter) -> None:
        """Writes the transition model."""
        columns, kind = (3, "Triples") if self.topology.is_hmm() else (4, "Tuples")
        writer.write_token("<TransitionModel>")
        writer.newline()
        self.topology.write(writer)
        writer.write_token(f"<{kind}>")
        writer.write_int(len(self.tuples))
        writer.newline()
        for row in self.tuples[:, :columns].tolist():
            for value in row:
                writer.write_int(value)
            writer.newline()
        writer.write_token(f"</{kind}>")
        writer.newline()
        writer.write_token("<LogProbs>")
        writer.newline()
        writer.write_vector(self.log_probs)
        writer.write_token("</LogProbs>")
        writer.newline()
        writer.write_token("</TransitionModel>")
        writer.newline()


def _check_tuples(reader: KaldiReader, topology: HmmTopology, tuples: NDArray[np.int32], offset: int) -> None:
    if len(tuples) == 0:
        raise reader.error("transition-states", "none", offset)
    for phone, hmm_state in sorted(set(map(tuple, tuples[:, :2].tolist()))):
        if phone not in topology.phone2entry:
            raise reader.error("a phone of the topology", str(phone), offset)
        num_states = len(topology.topology_for_phone(phone))
        if not 0 <= hmm_state < num_states - 1:
            raise reader.error(
                f"an HMM state of phone {phone} below {num_states - 1}", str(hmm_state), offset
            )
    if tuples[:, 2:].min() < 0:
        raise reader.error("pdfs of at least 0", str(tuples[:, 2:].min()), offset)
    order = np.lexsort(tuples.T[::-1])
    if not np.array_equal(order, np.arange(len(tuples))):
        first = int(np.argmax(order != np.arange(len(tuples))))
        raise reader.error(
            "sorted transition-states", f"{tuples[first].tolist()} at {first} out of order", offset
        )


def _flatten(
    topology: HmmTopology, phone: NDArray[np.int32], hmm_state: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Looks up the topology for each (phone, HMM state).

    Returns:
        For each transition-state its number of transitions, and where they start in the third array; the
        destinations of the transitions of all states of all entries; and, again for each
        transition-state, the number of states of the phone's HMM.
    """
    states = [(entry, state) for entry in topology.entries for state in entry]
    num_states = np.array([len(entry) for entry in topology.entries])
    entry_start = np.cumsum(num_states) - num_states
    num_transitions = np.array([len(state.transitions) for _, state in states])
    transition_start = np.cumsum(num_transitions) - num_transitions
    destinations = np.array([to for _, state in states for to, _ in state.transitions])
    phones, inverse = np.unique(phone, return_inverse=True)
    entry = np.array([topology.phone2entry[p] for p in phones.tolist()])[inverse]
    state = entry_start[entry] + hmm_state
    return num_transitions[state], transition_start[state], destinations, num_states[entry]


def _with_epsilon(values: NDArray[Any], epsilon: int | bool, dtype: type) -> NDArray[Any]:
    """Inserts the value for epsilon at the front and makes the array read-only."""
    array: NDArray[Any] = np.concatenate([[epsilon], values]).astype(dtype)
    array.flags.writeable = False
    return array

"""The shapes of the phones' HMMs (``hmm/hmm-topology.cc``).

A topology entry is a list of states that some phones share. A phone begins in state 0; the last state emits
nothing and has no transitions: reaching it ends the phone. An emitting state has two pdf
classes, one for its forward transitions and one for its self-loop. They are equal in a classic HMM, and
differ in the one-state topology of chain models.
"""

from dataclasses import dataclass, field

import numpy as np

from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

__all__ = ["HmmState", "HmmTopology"]

_NO_PDF = -1
_MAX_PHONE = 1_000_000


@dataclass
class HmmState:
    """One state of a topology entry.

    Attributes:
        forward_pdf_class: the pdf class of transitions to other states; `_NO_PDF` in a non-emitting state.
        self_loop_pdf_class: the pdf class of the transition to itself.
        transitions: (destination state, probability) in the order of their transition indices.
    """

    forward_pdf_class: int = _NO_PDF
    self_loop_pdf_class: int = _NO_PDF
    transitions: list[tuple[int, float]] = field(default_factory=list)


class HmmTopology:
    """The topology entries, and which entry each phone uses.

    Attributes:
        entries: the topology entries, each a list of states.
        phone2entry: from phone to the index of its entry.
    """

    def __init__(self, entries: list[list[HmmState]], phone2entry: dict[int, int]):
        self.entries = entries
        self.phone2entry = phone2entry

    def get_phones(self) -> list[int]:
        """Returns the phones that have an entry, in increasing order."""
        return sorted(self.phone2entry)

    def topology_for_phone(self, phone: int) -> list[HmmState]:
        """Returns the states of a phone's HMM.

        Raises:
            KeyError: the topology has no such phone.
        """
        return self.entries[self.phone2entry[phone]]

    def is_hmm(self) -> bool:
        """True if no state has a separate pdf class for its self-loop."""
        return all(s.forward_pdf_class == s.self_loop_pdf_class for entry in self.entries for s in entry)

    @classmethod
    def read(cls, reader: KaldiReader) -> "HmmTopology":
        """Reads a topology.

        Raises:
            ModelFormatError: the bytes are not a valid topology.
        """
        reader.expect_token("<Topology>")
        topology = cls._read_binary(reader) if reader.binary else cls._read_text(reader)
        topology._check(reader)
        return topology

    @classmethod
    def _read_binary(cls, reader: KaldiReader) -> "HmmTopology":
        phones = reader.read_int_vector()
        phone2index = reader.read_int_vector()
        num_entries, is_hmm = reader.read_int(), True
        if num_entries == -1:  # marks separate self-loop pdf classes; the count follows
            num_entries, is_hmm = reader.read_int(), False
        # Everything counted takes bytes, so a wrong count soon reaches the end of the file.
        entries = []
        for _ in range(num_entries):
            num_states = reader.read_count("HMM states", at_most=reader.remaining)
            entries.append([_read_binary_state(reader, is_hmm) for _ in range(num_states)])
        reader.expect_token("</Topology>")
        phone2entry = {}
        for phone in phones.tolist():
            if not 0 < phone < len(phone2index):
                raise reader.error(f"a phone from 1 to {len(phone2index) - 1}", str(phone))
            phone2entry[phone] = int(phone2index[phone])
        return cls(entries, phone2entry)

    @classmethod
    def _read_text(cls, reader: KaldiReader) -> "HmmTopology":
        entries: list[list[HmmState]] = []
        phone2entry: dict[int, int] = {}
        while reader.expect_token("<TopologyEntry>", "</Topology>") == "<TopologyEntry>":
            reader.expect_token("<ForPhones>")
            while not reader.accept_token("</ForPhones>"):
                phone = reader.read_count("phones", at_most=_MAX_PHONE)
                if phone == 0 or phone in phone2entry:
                    raise reader.error("a positive phone that has no entry yet", str(phone))
                phone2entry[phone] = len(entries)
            states: list[HmmState] = []
            while reader.expect_token("<State>", "</TopologyEntry>") == "<State>":
                number = reader.read_int()
                if number != len(states):
                    raise reader.error(f"the state {len(states)}", str(number))
                states.append(_read_text_state(reader))
            entries.append(states)
        return cls(entries, phone2entry)

    def _check(self, reader: KaldiReader) -> None:
        if not self.entries or not self.phone2entry:
            raise reader.error("topology entries and phones", "none")
        for phone, index in self.phone2entry.items():
            if not 0 <= index < len(self.entries):
                raise reader.error(
                    f"a topology entry below {len(self.entries)} for phone {phone}", str(index)
                )
        for index, states in enumerate(self.entries):
            if len(states) < 2:
                raise reader.error(f"at least two states in topology entry {index}", str(len(states)))
            for state in states[:-1]:
                _check_state(reader, state, len(states))
            if states[-1].transitions or states[-1].forward_pdf_class != _NO_PDF:
                raise reader.error(
                    f"a last state without pdf and transitions in topology entry {index}",
                    f"pdf class {states[-1].forward_pdf_class}, {len(states[-1].transitions)} transitions",
                )

    def write(self, writer: KaldiWriter) -> None:
        """Writes the topology."""
        writer.write_token("<Topology>")
        if writer.binary:
            self._write_binary(writer)
        else:
            self._write_text(writer)
        writer.write_token("</Topology>")
        writer.newline()

    def _write_binary(self, writer: KaldiWriter) -> None:
        phones = self.get_phones()
        phone2index = [self.phone2entry.get(phone, -1) for phone in range(phones[-1] + 1)]
        writer.write_int_vector(np.array(phones))
        writer.write_int_vector(np.array(phone2index))
        is_hmm = self.is_hmm()
        if not is_hmm:
            writer.write_int(-1)
        writer.write_int(len(self.entries))
        for states in self.entries:
            writer.write_int(len(states))
            for state in states:
                writer.write_int(state.forward_pdf_class)
                if not is_hmm:
                    writer.write_int(state.self_loop_pdf_class)
                writer.write_int(len(state.transitions))
                for destination, probability in state.transitions:
                    writer.write_int(destination)
                    writer.write_float(probability)

    def _write_text(self, writer: KaldiWriter) -> None:
        writer.newline()
        is_hmm = self.is_hmm()
        for index, states in enumerate(self.entries):
            _write_line(writer, "<TopologyEntry>")
            _write_line(writer, "<ForPhones>")
            _write_line(writer, *(p for p in self.get_phones() if self.phone2entry[p] == index))
            _write_line(writer, "</ForPhones>")
            for number, state in enumerate(states):
                words: list[str | int | float] = ["<State>", number]
                if state.forward_pdf_class != _NO_PDF and is_hmm:
                    words += ["<PdfClass>", state.forward_pdf_class]
                elif state.forward_pdf_class != _NO_PDF:
                    words += ["<ForwardPdfClass>", state.forward_pdf_class]
                    words += ["<SelfLoopPdfClass>", state.self_loop_pdf_class]
                for destination, probability in state.transitions:
                    words += ["<Transition>", destination, float(probability)]
                _write_line(writer, *words, "</State>")
            _write_line(writer, "</TopologyEntry>")


def _read_binary_state(reader: KaldiReader, is_hmm: bool) -> HmmState:
    forward = reader.read_int()
    self_loop = forward if is_hmm else reader.read_int()
    state = HmmState(forward, self_loop)
    for _ in range(reader.read_count("transitions", at_most=reader.remaining)):
        state.transitions.append((reader.read_int(), reader.read_float()))
    return state


def _read_text_state(reader: KaldiReader) -> HmmState:
    """Reads what follows the number of a state, up to ``</State>``."""
    state = HmmState()
    if reader.accept_token("<PdfClass>"):
        state.forward_pdf_class = state.self_loop_pdf_class = reader.read_int()
    elif reader.accept_token("<ForwardPdfClass>"):
        state.forward_pdf_class = reader.read_int()
        reader.expect_token("<SelfLoopPdfClass>")
        state.self_loop_pdf_class = reader.read_int()
    while reader.expect_token("<Transition>", "</State>") == "<Transition>":
        state.transitions.append((reader.read_int(), reader.read_float()))
    return state


def _check_state(reader: KaldiReader, state: HmmState, num_states: int) -> None:
    if min(state.forward_pdf_class, state.self_loop_pdf_class) < _NO_PDF:
        raise reader.error("a pdf class of -1 or more", str(state.forward_pdf_class))
    if not state.transitions:
        raise reader.error("transitions out of a state that is not the last", "none")
    for destination, probability in state.transitions:
        if not 0 <= destination < num_states:
            raise reader.error(f"a transition to a state below {num_states}", str(destination))
        if not 0.0 < probability <= 1.01:
            raise reader.error("a probability above 0 and up to 1", str(probability))


def _write_line(writer: KaldiWriter, *words: str | int | float) -> None:
    for word in words:
        if isinstance(word, str):
            writer.write_token(word)
        elif isinstance(word, int):
            writer.write_int(word)
        else:
            writer.write_float(word)
    writer.newline()

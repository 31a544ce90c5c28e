"""Which rules take the place of one that asks for a length only."""

from dataclasses import replace

import pytest

from pykaldi_server.kaldi.online2 import OnlineEndpointConfig
from pykaldi_server.session.endpoint_rules import rules_in_effect
from pykaldi_server.session.options import SessionOptions

KALDI = OnlineEndpointConfig()


def ends(config: OnlineEndpointConfig, silence_s: float, length_s: float) -> bool:
    """Whether a segment ends that is unlikely to be a whole sentence."""
    return any(rule.applies(silence_s, 5.0, length_s) for rule in config.rules())


@pytest.mark.parametrize(
    ("silence_s", "length_s", "of_kaldi", "at_pauses"),
    [
        (0.9, 16.9, False, False),
        (1.0, 16.9, True, True),
        (0.19, 17.1, False, False),
        (0.21, 17.1, False, True),
        (0.0, 20.1, True, False),
        (0.03, 20.1, True, True),
        (0.0, 24.9, True, False),
        (0.0, 25.0, True, True),
    ],
)
def test_when_segments_end(silence_s: float, length_s: float, of_kaldi: bool, at_pauses: bool) -> None:
    assert ends(rules_in_effect(KALDI, SessionOptions(end_at_pauses=False)), silence_s, length_s) == of_kaldi
    assert ends(rules_in_effect(KALDI, SessionOptions()), silence_s, length_s) == at_pauses


def test_other_rules_stay_as_they_are() -> None:
    never = replace(KALDI, rule5=replace(KALDI.rule5, min_utterance_length=0.0, min_trailing_silence=9.0))
    assert rules_in_effect(never, SessionOptions()).rules() == never.rules()
    assert rules_in_effect(KALDI, SessionOptions()).rules()[:4] == KALDI.rules()[:4]

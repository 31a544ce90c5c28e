"""When segments that grow long end: at a pause near the length that Kaldi's rule 5 gives, if there is one.

Kaldi's rule 5 ends an utterance of 20 s wherever it is, often within a word, which is then lost or read as
two others. With the option ``end-at-pauses`` three rules take its place, for its length L:

* from 0.85 L on, a pause of 0.2 s ends the segment;
* from L on, any silence does, however short;
* at 1.25 L it ends wherever it is.

A pause long enough for rules 2 to 4 ends it before. Segments shorter than 0.85 L are those of Kaldi.
"""

from dataclasses import dataclass, fields, replace

from pykaldi_server.kaldi.online2 import OnlineEndpointConfig, OnlineEndpointRule
from pykaldi_server.session.options import SessionOptions

__all__ = ["rules_in_effect"]

_NEAR, _LATEST = 0.85, 1.25  # of the length
_PAUSE_S = 0.2
_ANY_SILENCE_S = 1e-3  # less than a frame


def rules_in_effect(rules: OnlineEndpointConfig, options: SessionOptions) -> OnlineEndpointConfig:
    """Kaldi's endpoint rules, or those that take their place if the options say so."""
    if not options.end_at_pauses:
        return rules
    return _RulesAtPauses(**{each.name: getattr(rules, each.name) for each in fields(rules)})


@dataclass
class _RulesAtPauses(OnlineEndpointConfig):
    """The rules, where such as ask for a length only look for a pause near it."""

    def rules(self) -> list[OnlineEndpointRule]:
        """All rules in effect."""
        return [softened for rule in super().rules() for softened in _at_pauses(rule)]


def _at_pauses(rule: OnlineEndpointRule) -> list[OnlineEndpointRule]:
    length_s = rule.min_utterance_length
    if rule.min_trailing_silence > 0 or length_s == 0:
        return [rule]
    return [
        replace(rule, min_trailing_silence=_PAUSE_S, min_utterance_length=_NEAR * length_s),
        replace(rule, min_trailing_silence=_ANY_SILENCE_S),
        replace(rule, min_utterance_length=_LATEST * length_s),
    ]

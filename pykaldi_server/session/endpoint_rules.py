"""Where long segments end: at a pause near the length that Kaldi's rule 5 gives, not within a word.

Kaldi's rule 5 ends an utterance of L = 20 s wherever it is; a word that is being said then is lost, or read
as two others. With the option ``end-at-pauses`` three rules take the place of one that asks for a length
only:

==========  ========================================
from        the segment ends
==========  ========================================
0.85 L      at a pause of 0.2 s
L           at any silence, however short
1.25 L      wherever it is
==========  ========================================

Pauses are silence phones at the end of the best path, as for the other rules, which go on to apply: a longer
pause ends the segment before. Up to 0.85 L segments are exactly those of Kaldi.
`scripts/bench/segment_ends.py` counts the words that this saves.
"""

from dataclasses import dataclass, fields, replace

from pykaldi_server.kaldi.online2 import OnlineEndpointConfig, OnlineEndpointRule
from pykaldi_server.session.options import SessionOptions

__all__ = ["rules_in_effect"]

_NEAR, _LATEST = 0.85, 1.25  # of the length
_PAUSE_S = 0.2
_ANY_SILENCE_S = 1e-3  # less than a frame


def rules_in_effect(rules: OnlineEndpointConfig, options: SessionOptions) -> OnlineEndpointConfig:
    """Returns the rules that end the segments of a session.

    Args:
        rules: the model's rules, with the changes of the request.
        options: ``end_at_pauses`` decides whether they apply as they are.
    """
    if not options.end_at_pauses:
        return rules
    return _RulesAtPauses(**{each.name: getattr(rules, each.name) for each in fields(rules)})


@dataclass
class _RulesAtPauses(OnlineEndpointConfig):
    """Rules, of which those that ask for a length only are replaced; see the module."""

    def rules(self) -> list[OnlineEndpointRule]:
        """All rules in effect."""
        return [each for rule in super().rules() for each in _at_pauses(rule)]


def _at_pauses(rule: OnlineEndpointRule) -> list[OnlineEndpointRule]:
    """What takes the place of a rule; the rule itself if it asks for a pause, or for nothing."""
    length_s = rule.min_utterance_length
    if rule.min_trailing_silence > 0 or length_s == 0:
        return [rule]
    return [
        replace(rule, min_trailing_silence=_PAUSE_S, min_utterance_length=_NEAR * length_s),
        replace(rule, min_trailing_silence=_ANY_SILENCE_S),
        replace(rule, min_utterance_length=_LATEST * length_s),
    ]

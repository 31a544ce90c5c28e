"""Fixed bytes at fixed places, by which files are recognised while they arrive."""

__all__ = ["Signature", "matches_signature"]

Signature = list[tuple[int, bytes]]
"""Offsets, and the bytes that are there."""


def matches_signature(head: bytes, signature: Signature) -> bool | None:
    """Whether a stream has a signature.

    Args:
        head: the first bytes of the stream.
        signature: what to look for.

    Returns:
        True or False, or None where the bytes so far fit but are too few.
    """
    complete = True
    for offset, expected in signature:
        found = head[offset : offset + len(expected)]
        if not expected.startswith(found):
            return False
        complete &= found == expected
    return complete or None

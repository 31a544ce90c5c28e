"""Who makes a request that is being served."""

from tornado.httputil import HTTPServerRequest

from pykaldi_server.master.access.access import Visitor
from pykaldi_server.master.access.caller import Caller

__all__ = ["caller_of", "note_visitor", "visitor_of"]

_ATTRIBUTE = "pykaldi_server_visitor"


def note_visitor(request: HTTPServerRequest, visitor: Visitor) -> None:
    """Keeps with a request who makes it; `master.gate` does so before there is a handler."""
    vars(request)[_ATTRIBUTE] = visitor


def visitor_of(request: HTTPServerRequest) -> Visitor:
    """Who makes a request to an address of a `GuardedApplication`."""
    visitor: Visitor = vars(request)[_ATTRIBUTE]
    return visitor


def caller_of(request: HTTPServerRequest) -> Caller:
    """The caller of a request to an address of a `GuardedApplication`."""
    return visitor_of(request).caller

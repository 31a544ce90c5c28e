"""Where a request has its token.

Authorization: Bearer TOKEN
Authorization: Basic ...                        the password; for curl -u and the like
Sec-WebSocket-Protocol: openai-insecure-api-key.TOKEN
?token=TOKEN or ?access_token=TOKEN             for browsers' WebSockets and programs without headers
"""

import base64
import binascii
from urllib.parse import parse_qsl, urlencode

from tornado.escape import parse_qs_bytes
from tornado.httputil import HTTPServerRequest

from pykaldi_server.protocols.client_secrets import api_key

__all__ = ["TOKEN_FIELDS", "take_token"]

TOKEN_FIELDS = ("token", "access_token")


def take_token(request: HTTPServerRequest) -> str | None:
    """Returns the token of a request, and removes it from the address.

    What comes later, be it a log, an error or a worker, cannot show it. A token in a header goes first.
    """
    in_address = _take_from_address(request)
    subprotocols = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    authorization = request.headers.get("Authorization", "")
    in_header = api_key(authorization, map(str.strip, subprotocols)) or _basic_password(authorization)
    return in_header or in_address


def _take_from_address(request: HTTPServerRequest) -> str | None:
    fields = parse_qsl(request.query, keep_blank_values=True)
    given = [value for name, value in fields if name in TOKEN_FIELDS]
    if not given:
        return None
    request.query = urlencode([field for field in fields if field[0] not in TOKEN_FIELDS])
    request.uri = request.path + (f"?{request.query}" if request.query else "")
    request.arguments = parse_qs_bytes(request.query, keep_blank_values=True)
    request.query_arguments = {name: list(values) for name, values in request.arguments.items()}
    return given[-1] or None


def _basic_password(authorization: str) -> str | None:
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return decoded.partition(":")[2] or None

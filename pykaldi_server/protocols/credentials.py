"""How a client or a worker shows its token, and what it hears when that is not the right one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.messages import clean_text

__all__ = [
    "TOKEN_FILE_HELP",
    "TOKEN_HELP",
    "TOKEN_VARIABLE",
    "authorization",
    "find_token",
    "refusal_text",
    "without_token",
]

TOKEN_VARIABLE = "PYKALDI_SERVER_TOKEN"
TOKEN_HELP = (
    "token to show to the server; other users of this machine can see it in the list of processes, which "
    f"--token-file and the environment variable {TOKEN_VARIABLE} avoid"
)
TOKEN_FILE_HELP = "file that has nothing but the token to show to the server"
_REFUSED = (401, 403)


def find_token(token: str, token_file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """The token that a program has been given: as an option, in a file, or in its environment; "" if none.

    Raises:
        ConfigError: it has been given twice, or the file cannot be read, or it is not a token.
    """
    if token and token_file is not None:
        raise ConfigError("token, token-file: expected one of them, found both")
    where, found = ("token", token) if token else (TOKEN_VARIABLE, environment.get(TOKEN_VARIABLE, ""))
    if token_file is not None:
        where = f"token-file {token_file}"
        try:
            found = token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{where}: expected ASCII text, found other bytes") from None
        if not found:
            raise ConfigError(f"{where}: expected a token, found nothing")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise ConfigError(f"{where}: expected printable ASCII characters without spaces, found others")
    return found


def authorization(token: str) -> dict[str, str]:
    """The headers of a request that shows this token; none for ""."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def without_token(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for programs that have no need to know the token."""
    return {name: value for name, value in environment.items() if name != TOKEN_VARIABLE}


def refusal_text(code: int, body: bytes) -> str | None:
    """Why a server refuses a token; None if its answer is about something else.

    Args:
        code: of its answer, as HTTP has it.
        body: of its answer.
    """
    if code not in _REFUSED:
        return None
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    text = answer.get("message") if isinstance(answer, dict) else None
    reason = f": {clean_text(text)}" if isinstance(text, str) else ""
    return f"refused with code {code}{reason}; see --token and --token-file"

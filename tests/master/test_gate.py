"""Who gets through to what: tokens, origins, and that no address has been forgotten."""

import asyncio
import base64
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from every_protocol import PORTS, PROTOCOLS, Client
from phone import listener, twilio
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.web import RequestHandler

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.access import Part
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.master.server import make_application, make_vosk_application

CLIENT, WORKER, ADMINISTRATOR = "client-token-0123456789", "worker-token-0123456789", "admin-token-0123456789"
TOKENS = f"clients:\n  anna: {CLIENT}\nworkers:\n  w: {WORKER}\nadministrators:\n  boss: {ADMINISTRATOR}\n"
SPEECH = "/client/ws/speech"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(TOKENS)
    path.chmod(0o600)
    return path


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def handshake(harness: Any, master: Any, path: str, headers: dict[str, str] | None = None) -> int:
    """The HTTP code of a WebSocket's handshake."""
    url = master.url.replace("http", "ws") + path
    try:
        await harness.connect(HTTPRequest(url, headers=headers or {}))
    except HTTPClientError as error:
        return error.code
    return 101


# What needs what

OPEN = {"/", "/client/static/app.js", "/status", "/healthz", "/readyz"}  # /status leads to a page
LATER = {"/twilio"}  # the token comes after the handshake
FOR_ADMINISTRATORS = {"/metrics", "/states", "/states/english/anna"}
EXAMPLES = {
    r"/v1/models/(.+)$": "/v1/models/english",
    r"/states/([^/]+)/([^/]+)$": "/states/english/anna",
    r"/client/static/(.*)$": "/client/static/app.js",
    r"/()$": "/",
    r".*": "/anything",
}


def routes(application: Any) -> Iterator[tuple[str, type[RequestHandler]]]:
    """A path of every address, and its handler."""
    for rule in application.wildcard_router.rules:
        pattern = rule.matcher.regex.pattern
        yield EXAMPLES.get(pattern, pattern.removesuffix("$")), rule.target


def test_every_address_is_protected_unless_it_is_meant_to_be_open(harness: Any, tokens: Path) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens, states=str(harness.directory / "states.db")) as master:
            found = list(routes(make_application(master.hub)))
            assert len(found) > 20
            for path, handler in found:
                codes = {}
                for method in ("GET", "POST", "PUT", "DELETE"):
                    answer = await harness.fetch(
                        master, path, method=method, body=b"" if method[0] == "P" else None
                    )
                    codes[method] = answer.code
                    if answer.code == 401:
                        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                        assert "expected the token of" in answer.body.decode()
                if path in LATER:
                    assert codes["GET"] == 400
                elif path in OPEN:
                    assert codes["GET"] in (200, 503), path
                    if issubclass(handler, LiveSocket):  # also serves Vosk's clients
                        assert await handshake(harness, master, path) == 401
                else:
                    assert set(codes.values()) == {401}, path
                if path in FOR_ADMINISTRATORS:
                    answer = await harness.fetch(master, path, headers=bearer(CLIENT))
                    assert answer.code == 403, path
                    answer = await harness.fetch(master, path, headers=bearer(ADMINISTRATOR))
                    assert answer.code in (200, 404), path
            of_vosk = list(routes(make_vosk_application(master.hub)))
            assert of_vosk
            for _, handler in of_vosk:
                assert getattr(handler, "PART", None) is Part.RECOGNITION

    harness.run(scenario)


def test_addresses_that_others_add_are_for_clients(harness: Any, tokens: Path) -> None:
    class Added(RequestHandler):
        def initialize(self, hub: Any) -> None:
            pass

        def get(self) -> None:
            self.write("hello")

    async def scenario() -> None:
        async with harness.master(tokens=tokens, endpoints=[(r"/added", Added)]) as master:
            assert (await harness.fetch(master, "/added")).code == 401
            assert (await harness.fetch(master, "/added", headers=bearer(CLIENT))).body == b"hello"

    harness.run(scenario)


@pytest.mark.parametrize("part", ["metrics", "status", "corrections", "calls"])
def test_what_is_private_is_for_this_machine(harness: Any, part: str) -> None:
    paths = {
        "metrics": "/metrics",
        "status": "/client/ws/status",
        "corrections": "/client/dynamic/reference",
        "calls": "/client/ws/listen",
    }

    async def scenario() -> None:
        elsewhere = {"Host": "server.example"}
        async with harness.master(private=(part,)) as master:
            for name, path in paths.items():
                for headers in ({}, elsewhere):
                    method = "POST" if name == "corrections" else "GET"
                    answer = await harness.fetch(
                        master, path, headers=headers, method=method, body=b"" if method == "POST" else None
                    )
                    assert (answer.code == 403) == (name == part and headers is elsewhere), (name, headers)
            ready = await harness.fetch(master, "/readyz", headers=elsewhere)
            health = await harness.fetch(master, "/healthz", headers=elsewhere)
            assert ("models" in json.loads(ready.body)) == (part != "status")
            assert ("version" in json.loads(health.body)) == (part != "status")

    harness.run(scenario)


@pytest.mark.parametrize(
    "name", ["%00", "x%00.js", "%ff", "..%2foptions.py", "%2e%2e/cli/main.py", "/etc/passwd", "a" * 5000]
)
def test_paths_that_lead_nowhere(harness: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    async def scenario() -> None:
        async with harness.master(states=str(harness.directory / "states.db")) as master:
            for folder in ("/client/static/", "/v1/models/", "/states/english/", "/states/x/../", "/"):
                answer = await harness.fetch(master, folder + name)
                assert 400 <= answer.code < 500, folder

    harness.run(scenario)
    assert "Traceback" not in caplog.text


# Tokens


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.__name__)
def test_every_protocol_with_a_right_a_wrong_and_no_token(
    harness: Any, tokens: Path, protocol: type[Client]
) -> None:
    """Those that have no place for a token are open to whoever reaches their port."""

    async def scenario() -> None:
        async with harness.master(tokens=tokens, queue_s=0, **PORTS) as master:
            for token, is_right in ((CLIENT, True), ("wrong-token-0123456789", False), ("", False)):
                refused = await protocol(harness, master, token).is_refused()
                assert refused is not (is_right or not protocol.has_tokens), token

    harness.run(scenario)


def basic(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"x:{token}".encode()).decode()}


@pytest.mark.parametrize(
    "show",
    [
        lambda token: (SPEECH, bearer(token)),
        lambda token: (SPEECH, {"Authorization": f"bearer  {token}"}),
        lambda token: (SPEECH, basic(token)),
        lambda token: (f"{SPEECH}?token={token}", {}),
        lambda token: (f"{SPEECH}?model=english&access_token={token}", {}),
        lambda token: (SPEECH, {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{token}"}),
    ],
)
@pytest.mark.parametrize("token", [CLIENT, ADMINISTRATOR])
def test_where_a_token_may_be(
    harness: Any,
    tokens: Path,
    caplog: pytest.LogCaptureFixture,
    show: Callable[[str], tuple[str, dict[str, str]]],
    token: str,
) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            assert await handshake(harness, master, *show(token)) == 101
            assert await handshake(harness, master, *show(token[:-1])) == 401

    with caplog.at_level(logging.DEBUG):
        harness.run(scenario)
    for shown in (token[:-1], basic(token)["Authorization"], basic(token[:-1])["Authorization"]):
        assert shown not in caplog.text


@pytest.mark.parametrize("authorization", ["Basic !!", "Basic eA==", "Bearer", "", "Digest x", "Basic /w=="])
def test_malformed_credentials_are_none(harness: Any, tokens: Path, authorization: str) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            assert await handshake(harness, master, SPEECH, {"Authorization": authorization}) == 401

    harness.run(scenario)


def test_a_token_never_shows(harness: Any, tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In an address it is in nobody's hands but the gate's, whatever goes wrong later."""

    class Failing(RequestHandler):
        def initialize(self, hub: Any) -> None:
            pass

        def get(self) -> None:
            assert self.get_query_arguments("a") == ["1"]
            assert self.get_arguments("token") == []
            raise ValueError(f"{self.request.uri} {self.request.full_url()} {self.request!r}")

    async def scenario() -> None:
        async with harness.master(tokens=tokens, endpoints=[(r"/fails", Failing)]) as master:
            answer = await harness.fetch(master, f"/fails?a=1&token={CLIENT}")
            assert answer.code == 500
            assert CLIENT not in answer.body.decode()
            for token in (CLIENT, "wrong-token-0123456789"):
                answer = await harness.fetch(master, f"/client/static/no.js?token={token}")
                assert token not in answer.body.decode()
            metrics = await harness.fetch(master, f"/metrics?access_token={ADMINISTRATOR}")
            assert metrics.code == 200
            assert ADMINISTRATOR not in metrics.body.decode()

    with caplog.at_level(logging.DEBUG):
        harness.run(scenario)
    assert "/fails?a=1" in caplog.text
    for token in (CLIENT, ADMINISTRATOR, "wrong-token-0123456789"):
        assert token not in caplog.text


def test_workers_need_a_token_of_their_own(harness: Any, tokens: Path) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            path = "/worker/ws/speech"
            for headers, code in (({}, 401), (bearer("x" * 20), 401), (bearer(CLIENT), 403)):
                assert await handshake(harness, master, path, headers) == code
            assert await handshake(harness, master, f"{path}?token={WORKER}") == 101
            assert await handshake(harness, master, SPEECH, bearer(WORKER)) == 403

    harness.run(scenario)


def test_own_workers_are_the_only_ones(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            token = master.hub.access.make_worker_token()
            assert await handshake(harness, master, "/worker/ws/speech") == 401
            assert await handshake(harness, master, "/worker/ws/speech", bearer(token)) == 101
            # Clients need none, and what they say is not looked at.
            assert await handshake(harness, master, SPEECH, bearer("anything")) == 101

    harness.run(scenario)


def test_open_lets_clients_do_without(harness: Any, tokens: Path) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens, open=True) as master:
            assert await handshake(harness, master, SPEECH) == 101
            assert await handshake(harness, master, SPEECH, bearer(CLIENT)) == 101
            assert await handshake(harness, master, SPEECH, bearer("wrong-token-0123456789")) == 401
            assert await handshake(harness, master, "/worker/ws/speech") == 401
            assert (await harness.fetch(master, "/metrics")).code == 401

    harness.run(scenario)


def test_tokens_are_read_again(harness: Any, tokens: Path) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            tokens.write_text("clients: {berta: another-token-0123456789}")
            master.reload(master.hub.options)
            assert await handshake(harness, master, SPEECH, bearer(CLIENT)) == 401
            assert await handshake(harness, master, SPEECH, bearer("another-token-0123456789")) == 101
            tokens.write_text("clients:\n  berta: {token: short}")
            error = f"{tokens}, line 2: clients.berta.token: expected a token of at least 16 characters"
            with pytest.raises(ConfigError, match=re.escape(error)):
                master.reload(master.hub.options)
            assert await handshake(harness, master, SPEECH, bearer("another-token-0123456789")) == 101

    harness.run(scenario)


def test_keys_of_the_realtime_api_stand_for_the_token_that_made_them(harness: Any, tokens: Path) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            secrets = "/v1/realtime/client_secrets"
            made = await harness.fetch(master, secrets, method="POST", body=b"{}", headers=bearer(CLIENT))
            key = json.loads(made.body)["value"]
            assert await handshake(harness, master, "/v1/realtime", bearer(key)) == 101
            again = await harness.fetch(master, secrets, method="POST", body=b"{}", headers=bearer(key))
            assert again.code == 401
            tokens.write_text("clients: {berta: another-token-0123456789}")
            master.reload(master.hub.options)
            assert await handshake(harness, master, "/v1/realtime", bearer(key)) == 401

    harness.run(scenario)


def test_a_refused_upload_is_answered_whatever_its_size(harness: Any, tokens: Path) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            answer = await harness.fetch(
                master, "/client/dynamic/recognize", method="POST", body=bytes(3_000_000)
            )
            assert (answer.code, json.loads(answer.body)["status"]) == (401, 5)
            answer = await harness.fetch(master, "/v1/audio/transcriptions", method="POST", body=b"x")
            assert json.loads(answer.body)["error"]["code"] == "invalid_api_key"
            reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
            head = (
                "POST /client/dynamic/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n"
            )
            writer.write(head.encode())
            answer = await reader.read()  # the rest never comes; the server does not wait for it
            assert answer.startswith(b"HTTP/1.1 401")
            assert b"Connection: close" in answer
            writer.close()

    harness.run(scenario)


def test_twilio_shows_its_token_in_time_and_nobody_else_sees_it(harness: Any, tokens: Path) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=tokens, idle_s=0.2) as master:
            silent = await twilio(harness, master)
            assert await silent.socket.read() is None
            assert silent.socket.connection.close_code == 1008
        async with harness.master(tokens=tokens, queue_s=0) as master:
            wrong = await twilio(harness, master)
            await wrong.start(token=CLIENT[:-1])
            assert await wrong.socket.read() is None
            reason = "the parameter token: expected the token of a client, found an unknown token"
            assert wrong.socket.connection.close_reason == reason
            follower = await listener(harness, master, "CA1", bearer(CLIENT))
            right = await twilio(harness, master)
            await right.start(token=CLIENT, desk="3")
            assert (await follower.read_json())["parameters"] == {"desk": "3"}

    harness.run(scenario)


# Pages


def test_pages_of_other_origins_are_refused(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            own = {"Origin": f"http://localhost:{master.port}"}
            for path in (
                SPEECH,
                "/client/ws/status",
                "/vosk",
                "/v1/realtime",
                "/twilio",
                "/worker/ws/speech",
            ):
                for origin in ("https://evil.example", "null", f"https://localhost:{master.port}"):
                    assert await handshake(harness, master, path, {"Origin": origin}) == 403, path
                assert await handshake(harness, master, path, own) == 101, path
            for path in (
                "/client/dynamic/recognize",
                "/client/dynamic/reference",
                "/v1/audio/transcriptions",
            ):
                answer = await harness.fetch(
                    master, path, method="POST", body=b"", headers={"Origin": "https://evil.example"}
                )
                assert answer.code == 403
                assert "Access-Control-Allow-Origin" not in answer.headers
            answer = await harness.fetch(master, "/metrics", headers=own)
            assert (answer.code, answer.headers["Access-Control-Allow-Origin"]) == (200, own["Origin"])
            # Another name for this machine is one that the page's name server has made up.
            rebound = {"Origin": "http://evil.example:80", "Host": "evil.example"}
            assert await handshake(harness, master, SPEECH, rebound) == 403

    harness.run(scenario)


@pytest.mark.parametrize(
    "host", ["[", "[::1", "a:999999", "[:::]x", "a:b", "a b", "", "\u00ff", "@", "a@b", "[::1]:x"]
)
def test_malformed_hosts_and_origins_are_nobody(
    harness: Any, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    async def scenario() -> None:
        async with harness.master(proxies=("127.0.0.1",)) as master, harness.master() as other:
            for headers in (
                {"Origin": f"http://{host}", "Host": host},
                {"Origin": f"http://{host}", "X-Forwarded-Host": host},
                {"Origin": host, "X-Forwarded-Proto": host},
            ):
                for each in (master, other):
                    assert await status_of(each, headers) in (400, 403), headers

    harness.run(scenario)
    assert "Traceback" not in caplog.text


async def status_of(master: Any, headers: dict[str, str]) -> int:
    """The code of an answer to headers that a client of HTTP would not send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
    lines = [f"{name}: {value}" for name, value in ({"Host": "localhost"} | headers).items()]
    writer.write(
        "\r\n".join(["GET /v1/models HTTP/1.1", "Connection: close", *lines, "", ""]).encode("latin-1")
    )
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


def test_origins_that_are_allowed(harness: Any) -> None:
    page = "https://example.org"

    async def scenario() -> None:
        async with harness.master(allow_origins=(f"{page}:443",)) as master:
            assert await handshake(harness, master, SPEECH, {"Origin": page}) == 101
            assert await handshake(harness, master, SPEECH, {"Origin": f"{page}.evil"}) == 403
            preflight = {
                "Origin": page,
                "Access-Control-Request-Method": "PUT",
                "Access-Control-Request-Headers": "authorization",
            }
            path = "/client/dynamic/recognize"
            answer = await harness.fetch(master, path, method="OPTIONS", headers=preflight)
            assert (answer.code, answer.headers["Access-Control-Allow-Origin"]) == (200, page)
            assert answer.headers["Vary"] == "Origin"
            assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
            preflight["Origin"] = "https://evil.example"
            assert (await harness.fetch(master, path, method="OPTIONS", headers=preflight)).code == 403
        async with harness.master(allow_origins=("*",)) as master:
            assert await handshake(harness, master, SPEECH, {"Origin": "https://anywhere.example"}) == 101
            answer = await harness.fetch(master, "/v1/models")
            assert answer.headers["Access-Control-Allow-Origin"] == "*"

    harness.run(scenario)


def test_what_browsers_are_told_of_every_answer(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(allow_origins=("https://portal.example",)) as master:
            for path in ("/", "/healthz", "/no-such-path", "/states"):
                answer = await harness.fetch(master, path)
                assert answer.headers["Server"] == "pykaldi-server"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            policy = (await harness.fetch(master, "/")).headers["Content-Security-Policy"]
            assert policy.endswith("; frame-ancestors 'self' https://portal.example")

    harness.run(scenario)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (SPEECH, '"status": 5'),
        ("/client/ws/status", '"status": 5'),
        ("/v1/realtime", '"code": "invalid_api_key"'),
        ("/vosk", None),
    ],
)
def test_pages_are_told_why_they_are_refused(
    harness: Any, tokens: Path, path: str, message: str | None
) -> None:
    """Scripts never see the code of a handshake."""

    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            url = master.url.replace("http", "ws") + path
            own = {"Origin": f"http://localhost:{master.port}"}
            page = await harness.connect(HTTPRequest(url, headers=own))
            if message is not None:
                assert message in await page.read()
            assert await page.read() is None
            assert page.connection.close_code == 1008
            assert page.connection.close_reason == "expected the token of a client, found none"

    harness.run(scenario)


# What a master refuses to start with


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"host": "0.0.0.0"}, "host: other machines can reach 0.0.0.0, and there are no tokens: --tokens"),
        ({"host": ""}, "host: other machines can reach all addresses"),
        ({"host": "::"}, "host: other machines can reach ::"),
        ({"host": "0.0.0.0", "tokens": True, "wyoming_port": 0}, "wyoming-port: other machines can reach"),
        ({"host": "0.0.0.0", "tokens": True, "audiosocket_port": 0}, "audiosocket-port: other machines"),
        ({"private": ("everything",)}, "private: expected one of metrics, .*, found 'everything'"),
        ({"allow_origins": ("example.org",)}, "allow-origin: expected .*, found 'example.org'"),
        ({"proxies": ("nginx",)}, "proxy: expected an IP address or network, found 'nginx'"),
        ({"path_prefix": "speech"}, "path-prefix: expected a path such as /speech, found 'speech'"),
    ],
)
def test_what_a_master_does_not_start_with(
    harness: Any, tokens: Path, options: dict[str, Any], error: str
) -> None:
    async def scenario() -> None:
        given = {**options, **({"tokens": tokens} if "tokens" in options else {})}
        with pytest.raises(ConfigError, match=f"^{error}"):
            async with harness.master(**given):
                pass

    harness.run(scenario)


@pytest.mark.parametrize(
    "options",
    [
        {"host": "0.0.0.0", "open": True, "wyoming_port": 0},
        {"host": "0.0.0.0", "tokens": True, "wyoming_port": 0, "wyoming_host": "127.0.0.1"},
        {"host": "localhost"},
        {"host": "127.0.0.2", "tokens": True, "audiosocket_port": 0},
    ],
)
def test_what_a_master_starts_with(harness: Any, tokens: Path, options: dict[str, Any]) -> None:
    async def scenario() -> None:
        given = {**options, **({"tokens": tokens} if "tokens" in options else {})}
        async with harness.master(**given) as master:
            assert master.port

    harness.run(scenario)

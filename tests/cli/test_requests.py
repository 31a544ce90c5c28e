"""`pykaldi-server requests`: what a master has written down, listed, shown, summed up and exported."""

import csv
import io
import json
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from pykaldi_server.cli.main import main
from pykaldi_server.cli.requests import GROUPS
from pykaldi_server.database import requests as table
from pykaldi_server.database.database import Database
from pykaldi_server.database.requests import LoggedRequest, add_requests

OLD = LoggedRequest(
    *("a-1", 1000.0, 1003.5, "kaldi", "desk", None, None, "english", "worker", "success", ""),
    *(1000, 100, 3600.0, 360.0, 0.5, 0.1, 0.2, 0.3, 0.4, 9, 'say "so",\nthen'),
)
NEW = replace(OLD, id="b-2", begun_s=time.time(), ended_s=time.time(), protocol="vosk", outcome="aborted")
REFUSED = replace(
    NEW, id="c-3", begun_s=NEW.begun_s + 1, model="", audio_s=0.0, queue_wait_s=None, partial_delay_s=None
)


@pytest.fixture
def name(database_name: str) -> str:
    database = Database(database_name)
    database.run(lambda each: add_requests(each, (OLD, NEW, REFUSED)))
    database.close()
    return database_name


def requests(name: str, command: str, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["requests", command, "--request-log", name, *arguments])
    assert result.exit_code == code, result.output
    return result.output


def ids(name: str, *arguments: str) -> list[str]:
    return [line.split()[-1] for line in requests(name, "list", *arguments).splitlines()]


def test_list(name: str) -> None:
    assert ids(name) == ["c-3", "b-2", "a-1"]
    assert ids(name, "--limit", "1") == ["c-3"]
    assert ids(name, "--days", "1") == ["c-3", "b-2"]
    assert ids(name, "--model", "english", "--protocol", "vosk") == ["b-2"]
    assert ids(name, "--caller", "nobody") == []
    assert "3600.0 s  kaldi        english           success        a-1" in requests(name, "list")


def test_export(name: str) -> None:
    expected = [each.properties() for each in (REFUSED, NEW, OLD)]
    assert [json.loads(line) for line in requests(name, "list", "--format=json").splitlines()] == expected
    rows = list(csv.DictReader(io.StringIO(requests(name, "list", "--format=csv"))))
    texts = [{key: "" if value is None else str(value) for key, value in each.items()} for each in expected]
    assert rows == texts


def test_show(name: str) -> None:
    assert json.loads(requests(name, "show", "a-1")) == OLD.properties()
    assert requests(name, "show", "x", code=1) == "Error: no request 'x'\n"


def test_stats(name: str) -> None:
    lines = [line.split() for line in requests(name, "stats").splitlines()]
    assert lines[0][:3] == ["model", "requests", "successes"]
    assert lines[1] == ["-", "1", "0", "0.00", "-", "9", "-", "-", "0.30"]
    assert lines[2] == ["english", "2", "1", "2.00", "0.100", "18", "0.50", "0.10", "0.30"]
    (of_vosk,) = [
        json.loads(line)
        for line in requests(name, "stats", "--by=protocol", "--protocol=vosk", "--format=json").splitlines()
    ]
    assert (of_vosk["group"], of_vosk["num_requests"], of_vosk["num_successes"]) == ("vosk", 2, 0)
    (row,) = csv.DictReader(io.StringIO(requests(name, "stats", "--model=english", "--format=csv")))
    assert (row["group"], row["cpu_s"]) == ("english", "720.0")


def test_the_command_knows_the_groups_of_the_table() -> None:
    assert GROUPS == table.GROUPS


def test_a_database_of_another_kind() -> None:
    text = requests("oracle://x", "list", code=1)
    assert text.startswith("Error: request-log: expected a file, or a URL that begins with")

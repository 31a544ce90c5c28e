"""A PostgreSQL server of the tests' own, in a temporary folder, reached by a Unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

PROGRAMS = "/usr/lib/postgresql"  # Debian's folder, with one for each version
START_S = 200


def find_programs() -> Path:
    """The folder of the server's programs; the test is skipped where there is no server."""
    on_path = shutil.which("initdb")
    folders = [*sorted(Path(PROGRAMS).glob("*/bin")), *([Path(on_path).resolve().parent] if on_path else [])]
    for folder in reversed(folders):
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    pytest.skip("needs a PostgreSQL server (Debian: apt-get install postgresql)")


class PostgresqlServer:
    """A server that tests may stop, kill and start again.

    Attributes:
        url: its address for `--states`.
    """

    def __init__(self) -> None:
        self._programs = find_programs()
        # Unix sockets have short paths, and the server's user must be able to reach the folder.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._folder / "data"
        self._user = self._server_user()
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self.url = f"postgresql://tester@/postgres?host={self._folder}"
        self._run(
            "initdb", "--auth=trust", "--username=tester", "--no-sync", "--encoding=UTF8", "--no-locale"
        )
        self.start()

    @staticmethod
    def _server_user() -> pwd.struct_passwd | None:
        """Who runs the server: PostgreSQL refuses root."""
        if os.geteuid() != 0:
            return None
        known = {each.pw_name: each for each in pwd.getpwall()}
        return known.get("postgres") or known["nobody"]

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        options = f"-k {self._folder} -c listen_addresses= -c fsync=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "--wait", f"--timeout={START_S}", f"--log={log}", f"--options={options}", "start")

    def start_again(self) -> None:
        """Starts it unless it runs."""
        if not (self._data / "postmaster.pid").exists():
            self.start()

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def remove(self) -> None:
        """Ends it and removes its files."""
        if (self._data / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self._folder)

    def clear(self) -> None:
        """Removes all tables."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def freeze(self) -> None:
        """Lets it take connections and answer nothing."""
        self._signal("STOP")

    def thaw(self) -> None:
        """Lets it go on."""
        self._signal("CONT")

    def _signal(self, name: str) -> None:
        pid = (self._data / "postmaster.pid").read_text().splitlines()[0]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        subprocess.run(["kill", f"-{name}", pid, *children], check=True)

    def _run(self, program: str, *arguments: str) -> None:
        user = None if self._user is None else self._user.pw_uid
        done = subprocess.run(
            [self._programs / program, f"--pgdata={self._data}", *arguments],
            user=user,
            group=None if self._user is None else self._user.pw_gid,
            extra_groups=None if self._user is None else [],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server inherits it, so a pipe would never end
            stderr=subprocess.DEVNULL,
            timeout=2 * START_S,
        )
        if done.returncode:
            log = self._folder / "log"
            text = log.read_text() if log.exists() else "no log"
            raise AssertionError(f"{program}: code {done.returncode}: {text}")

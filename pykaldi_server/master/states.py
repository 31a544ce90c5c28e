"""Adaptation kept per user: what the sessions of a user teach of the speaker, for the next one.

    request begins: relay <--load-- StateKeeper <--> DatabaseThread <--> SQLite or PostgreSQL
    request ends:   relay --save--> StateKeeper --> (no one waits)

A state belongs to a model and a user. Of two sessions at once the later end wins, also when two masters share
a database. Recognition never depends on a state: without a database, it starts as for an unknown speaker.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from sqlalchemy import Connection

from pykaldi_server.database.retention import Retention, steady_s
from pykaldi_server.database.states import (
    StateEntry,
    StoredState,
    delete_states,
    list_states,
    load_state,
    save_state,
)
from pykaldi_server.database.thread import DatabaseThread
from pykaldi_server.errors import AdaptationStateError, DatabaseError
from pykaldi_server.master.options import MasterOptions, StatesFor
from pykaldi_server.protocols.gstreamer import Adaptation, RequestInfo
from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.worker import WorkerInfo

__all__ = ["StateKeeper"]

logger = logging.getLogger(__name__)


class StateKeeper:
    """Loads and saves the states of a master's requests. It belongs to the master's event loop.

    Args:
        options: returns the settings as they are now: whose states are kept, and for how long.
        thread: the database, which other parts of the master may use as well.
        now, steady: clocks, see `Retention`.
    """

    def __init__(
        self,
        options: Callable[[], MasterOptions],
        thread: DatabaseThread,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_s,
    ) -> None:
        self._options = options
        self._thread = thread
        self._now = now
        self._retention = Retention(lambda: options().states_days, now, steady)

    @property
    def failure(self) -> str:
        """Why the database cannot be used at the moment; empty when it can."""
        return self._thread.failure

    @property
    def num_failures(self) -> int:
        """Number of uses of the database that have failed."""
        return self._thread.num_failures

    def is_for(self, request: RequestInfo, worker: WorkerInfo) -> bool:
        """Whether the state of a request is kept: the user and the model must be known by name."""
        if not request.has_user or not worker.model or request.adaptation is Adaptation.NONE:
            return False
        return request.adaptation is Adaptation.KEEP or self._options().states_for == StatesFor.ALL

    async def load(self, request: RequestInfo, worker: WorkerInfo) -> Message | None:
        """Returns the state with which a request is to start, in the wire format; None if there is none."""
        model, user_id, since_s = worker.model, request.user_id, self._retention.oldest_s()

        def work(connection: Connection) -> StoredState | None:
            state = load_state(connection, model, user_id, since_s)
            if state is not None:
                state.check()
            return state

        try:
            state = await self._thread.call(work)
        except DatabaseError as error:
            logger.debug("%s: starts without a kept state: %s", request.id, error)
            return None
        except AdaptationStateError as error:
            logger.warning(
                "%s: the kept state of user %s for model %s is not used: %s",
                request.id,
                user_id,
                model,
                error,
            )
            return None
        if state is None:
            logger.debug("%s: no state of user %s is kept for model %s", request.id, user_id, model)
            return None
        logger.info("%s: starts with the kept state of user %s for model %s", request.id, user_id, model)
        return state.properties()

    def save(self, request: RequestInfo, worker: WorkerInfo, state: Message) -> None:
        """Keeps what a request has learned, once the database gets to it."""
        cmvn_state = state.get("cmvn_state")
        stored = StoredState(
            worker.model,
            request.user_id,
            self._now(),
            str(state.get("type")),
            str(state.get("value")),
            None if cmvn_state is None else str(cmvn_state),
        )
        before_s = self._retention.due_s()

        def work(connection: Connection) -> bool:
            stored.check()
            if before_s is not None:
                _expire(connection, before_s)
            return save_state(connection, stored)

        def report(saving: "Future[bool]") -> None:
            error = saving.exception()
            if isinstance(error, AdaptationStateError):
                logger.warning("%s: the state of user %s is not kept: %s", request.id, stored.user_id, error)
            elif error is not None:
                logger.debug("%s: the state of user %s is not kept: %s", request.id, stored.user_id, error)
            elif saving.result():
                logger.info("%s: keeps the state of user %s", request.id, stored.user_id)
            else:
                logger.info("%s: a later session of user %s has ended", request.id, stored.user_id)

        self._thread.submit(work).add_done_callback(report)

    async def entries(self, model: str | None, user_id: str | None) -> list[StateEntry]:
        """Lists the states of a model or a user, or all.

        Raises:
            DatabaseError: the database cannot be used.
        """
        since_s = self._retention.oldest_s()
        return await self._thread.call(lambda each: list_states(each, model, user_id, since_s))

    async def state(self, model: str, user_id: str) -> StoredState | None:
        """Returns one state, whether or not it is damaged.

        Raises:
            DatabaseError: the database cannot be used.
        """
        since_s = self._retention.oldest_s()
        return await self._thread.call(lambda each: load_state(each, model, user_id, since_s))

    async def delete(self, model: str | None, user_id: str | None) -> int:
        """Deletes the states of a model or a user; returns how many there were.

        Raises:
            DatabaseError: the database cannot be used.
        """
        count = await self._thread.call(lambda each: delete_states(each, model, user_id))
        logger.info("deleted %d states of user %s, model %s", count, user_id or "(any)", model or "(any)")
        return count

    def start(self) -> None:
        """Deletes what is too old; a database that is down is reported now, not by the first request."""
        before_s = self._retention.due_s()

        def work(connection: Connection) -> None:
            if before_s is not None:
                _expire(connection, before_s)

        self._thread.submit(work)


def _expire(connection: Connection, before_s: float) -> None:
    count = delete_states(connection, before_s=before_s)
    if count:
        logger.info("deleted %d states that had not been used for too long", count)

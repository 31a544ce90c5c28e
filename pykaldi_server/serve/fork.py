"""Several processes of one worker, as ``--fork`` of kaldi-gstreamer-server starts them: started, watched and
stopped as one."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from pykaldi_server.serve.supervisor import Supervisor, WorkerCommand
from pykaldi_server.service import Service

__all__ = ["run_forked"]

logger = logging.getLogger(__name__)


def run_forked(
    commands: Sequence[WorkerCommand], reread: Callable[[], Sequence[WorkerCommand]], patience_s: float
) -> None:
    """Runs worker processes until SIGTERM or SIGINT, upon which all finish their requests.

    Args:
        commands: one for each process.
        reread: makes them again from the settings, upon SIGHUP; raises `ConfigError` if those are invalid.
        patience_s: how long they may take to end; a second signal is passed on to them.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    async def run() -> None:
        supervisor = Supervisor(commands, lambda *_: service.ready(), patience_s=patience_s)

        async def reload() -> None:
            await supervisor.reload(reread())

        async with Service(reload) as service:
            running = asyncio.create_task(supervisor.run())
            stopping = asyncio.create_task(service.stopping.wait())
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            if service.stopping.is_set():
                logger.info("stopping %d worker processes", len(commands))
            running.cancel()
            hurrying = asyncio.create_task(service.hurrying.wait())
            await asyncio.wait((running, hurrying), return_when=asyncio.FIRST_COMPLETED)
            supervisor.hurry()
            await asyncio.wait((running,))
            for task in (stopping, hurrying):
                task.cancel()
            if not running.cancelled():
                running.result()

    asyncio.run(run())

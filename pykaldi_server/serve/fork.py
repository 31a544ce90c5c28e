"""Several processes of one worker, as ``--fork`` of kaldi-gstreamer-server starts them: started, watched and
stopped as one."""

import asyncio
import logging
import signal

from pykaldi_server.serve.supervisor import Supervisor, WorkerCommand

__all__ = ["run_forked"]

logger = logging.getLogger(__name__)


def run_forked(command: WorkerCommand, num_processes: int, patience_s: float) -> None:
    """Runs copies of a worker process until SIGTERM or SIGINT, upon which all finish their requests.

    Args:
        command: the worker.
        num_processes: how many copies.
        patience_s: how long they may take to end; a second signal is passed on to them.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    async def run() -> None:
        supervisor = Supervisor([command] * num_processes, _note_ready, patience_s=patience_s)
        running = asyncio.create_task(supervisor.run())
        loop = asyncio.get_running_loop()
        is_stopping = False

        def stop() -> None:
            nonlocal is_stopping
            if is_stopping:
                supervisor.hurry()
            else:
                is_stopping = True
                logger.info("stopping %d worker processes", num_processes)
                running.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await asyncio.wait((running,))
        if not running.cancelled():
            running.result()

    asyncio.run(run())


def _note_ready(command: WorkerCommand, model: str) -> None:
    logger.info("a worker process serves %s", model)

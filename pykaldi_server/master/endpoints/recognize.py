"""Recognition of an upload as kaldi-gstreamer-server offers it, and its further forms of answers."""

from dataclasses import replace

from pykaldi_server.master.endpoints.upload import UploadHandler
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.relay import End
from pykaldi_server.protocols.answers import ANSWER_NAMES, Answer, AnswerRequest
from pykaldi_server.protocols.gstreamer import RequestInfo, caps_from_http, parse_event
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.request_options import read_options

__all__ = ["RecognizeHandler"]

NO_WORKERS = "No workers available"  # as the original says it
BUSY = 503


class RecognizeHandler(UploadHandler):
    """Serves `PUT|POST /client/dynamic/recognize`."""

    METHODS = "POST, PUT, OPTIONS"
    SUPPORTED_METHODS = ("POST", "PUT", "OPTIONS")

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        super().initialize(hub)
        self._result = Answer(self.info.id, AnswerRequest())

    def read_request(self) -> RequestInfo:
        headers, query = self.request.headers, self.request.query
        options, answer = read_options(query, headers, ANSWER_NAMES)
        wanted = AnswerRequest.from_fields(answer)
        if wanted.num_nbest is not None:
            options = {"num-nbest": wanted.num_nbest, **options}
        info = RequestInfo.from_http(headers, query, options)
        if self.form is not None:
            info = replace(info, content_type=caps_from_http(self.form.file_type))
        self._result = Answer(info.id, wanted)
        return info

    async def deliver(self, event: str) -> None:
        self._result.add(parse_event(event))

    async def respond(self, end: End) -> None:
        if end.status is Status.NOT_ALLOWED:
            await self.answer_refusal(400, end.message)
        elif end.status is Status.NOT_AVAILABLE:
            self.set_retry_after(end)
            is_busy = end.refusal_code == BUSY
            await self.answer_refusal(end.refusal_code, NO_WORKERS if is_busy else end.message)
        else:
            content_type, body = self._result.content(end.status, end.message)
            await self.answer(200, body, content_type)

"""What a process of a batch is asked to do; light to import, unlike `recognizer`, which does it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pykaldi_server.batch.locations import Location
from pykaldi_server.batch.parts import WHOLE, Part
from pykaldi_server.session.events import Final
from pykaldi_server.worker.options import PostProcessorOptions

__all__ = ["ProcessTexts", "Recognize", "RecognizerOptions", "Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizerOptions:
    """How recordings are recognised.

    Attributes:
        model: the model, as for `Model.load`, or a YAML file of kaldi-gstreamer-server.
        model_options: options that win over those of the model.
        content_type: how files are encoded, see `AudioDecoder`.
        channels: ``mixed``, ``left``, ``right`` or ``split``.
        post_processing: programs that change the text.
    """

    model: str
    model_options: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    channels: str = "mixed"
    post_processing: PostProcessorOptions = field(default_factory=PostProcessorOptions)


@dataclass(frozen=True, slots=True)
class Recognize:
    """A task: recognise a recording or a part of it.

    Attributes:
        path: the file, or its URL; ``-`` for standard input.
        part: the part of it. The text of anything but `WHOLE` is not processed yet.
        with_all_events: the events have partial results and adaptation states, too.
    """

    path: Location
    part: Part = WHOLE
    with_all_events: bool = False


@dataclass(frozen=True, slots=True)
class ProcessTexts:
    """A task: let the post-processors change final results of a recording."""

    path: Location
    finals: tuple[Final, ...]


Task = Recognize | ProcessTexts

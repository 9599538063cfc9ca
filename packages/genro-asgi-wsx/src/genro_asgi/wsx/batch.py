"""Several messages in one frame (WSX/1, section 17)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from genro_asgi.wsx.errors import WsxError
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.link import Frame
from genro_asgi.wsx.parsing import parse_batch

if TYPE_CHECKING:
    from genro_asgi.wsx.session import Session

__all__ = ["MOST_BYTES", "MOST_MESSAGES", "MOST_TAKEN", "join_frames", "receive_batch"]

#: Messages of one frame that are taken; those after them are refused, each by itself.
MOST_TAKEN = 64
#: What one frame of ours holds at most.
MOST_MESSAGES = 32
MOST_BYTES = 64 * 1024

_START, _END = "WSX://", "::JS"


def join_frames(frames: Iterable[Frame], most: int = MOST_BYTES) -> list[Frame]:
    """The same messages in fewer frames, in the same order, in no more bytes.

    `most` is the characters of one frame, unless a single message has more. Only those that follow each other and say
    that they are typed are joined: the mark of a batch counts for all of it.
    """
    joined: list[Frame] = []
    batch: list[str] = []
    size = 0
    for frame in frames:
        if isinstance(frame, str) and frame.startswith(_START) and frame.endswith(_END):
            if batch and (len(batch) == MOST_MESSAGES or size + len(frame) > most):
                joined.append(_join(batch))
                batch, size = [], 0
            batch.append(frame)
            size += len(frame)
            continue
        if batch:
            joined.append(_join(batch))
            batch, size = [], 0
        joined.append(frame)
    return [*joined, _join(batch)] if batch else joined


def _join(frames: list[str]) -> str:
    if len(frames) == 1:
        return frames[0]
    return f"{_START}[{','.join(frame[len(_START) : -len(_END)] for frame in frames)}]{_END}"


def receive_batch(session: "Session", data: Frame, now: float) -> None:
    """Take each message of an array as if it had come alone; calls that may run wait to be asked for."""
    try:
        messages = parse_batch(data, limits=session.limits, types=session.types)
    except WsxError as error:
        session.refuse_message(error, data)
        return
    size = len(data) // max(len(messages), 1)
    for number, message in enumerate(messages):
        try:
            if isinstance(message, WsxError):
                raise message
            if number >= MOST_TAKEN:
                text = f"more than {MOST_TAKEN} messages are in the batch"
                raise WsxError(text, status=413, code="TOO_LARGE", id=message.id)
            call = session.take_message(message.fields, message.form, now, size)
        except WsxError as error:
            session.refuse_message(error, data)
            continue
        if call is not None:
            _postpone(session, call)


def _postpone(session: "Session", call: Incoming) -> None:
    if call.holds_slot:
        call.holds_slot = False
        session.running -= 1
    session.backlog.append(call)
    session.held += call.size

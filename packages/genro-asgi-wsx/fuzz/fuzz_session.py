"""Feeds junk to a session, guided by coverage: fuzz_session.py -max_total_time=60.

Whatever comes in, nothing is raised, nothing grows beyond its limits, and the next good call is answered.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["genro_asgi.wsx"]):
    from genro_asgi.limits import Limits
    from genro_asgi.wsx.batch import MOST_TAKEN
    from genro_asgi.wsx.errors import WsxError
    from genro_asgi.wsx.session import Session
    from genro_asgi.wsx.tytx import TypeTable

VECTORS = Path(__file__).parent.parent / "vectors"
LIMITS = Limits(ws_in_flight=3, ws_streams=3, ws_message=4096, ws_queue=8192)
MARK = b"\xff\xfe"
TYPES = TypeTable()
TYPES.register(complex, "C", str, complex)
TYPES.allow_qs()


def feed(data: bytes) -> None:
    """One round: frames that are parted by a mark; the first byte of each says what is done besides."""
    session = Session(limits=LIMITS, legacy=data[:1] == b"L", heartbeat=10.0)
    session.features = frozenset({"batch"})
    if data[-1:] < b"\x80":
        session.read_by_call(lambda path: TYPES if len(path) % 2 else None)
        session.escape(TYPES.own_suffixes)
    session.call("POST", "/asked", 1, now=0.0, stream=True, credit=2, id="1")
    calls: list[Any] = []
    for now, frame in enumerate(data.split(MARK)):
        if session.paused:
            break
        choice, frame = frame[:1], frame[1:]
        call = session.receive(_text(frame) if choice < b"\x80" else frame, float(now))
        while call is not None:
            calls.append(call)
            call = session.next_call(float(now))
        _answer(session, calls, choice)
        if session.due <= now:
            session.tick(float(now))
        assert len(session.backlog) < LIMITS.ws_in_flight + MOST_TAKEN
        assert session.running <= LIMITS.ws_in_flight
        assert session.streams <= LIMITS.ws_streams
    _end(session, calls)


def _text(frame: bytes) -> str:
    try:
        return frame.decode("utf-8", "surrogatepass" if frame[:1] == b"\xed" else "replace")
    except UnicodeDecodeError:
        return frame.decode("utf-8", "replace")


def _answer(session: Any, calls: list[Any], choice: bytes) -> None:
    for call in list(calls):
        what = choice[0] % 4 if choice else 0
        if call.chunks is not None:
            while len(call.chunks):
                call.chunks.take()
        if what == 1 and call.ready:
            try:
                call.item(call.data)
            except WsxError as error:
                if error.status != 429:
                    raise
        elif what == 2:
            call.respond(200, call.data)
            calls.remove(call)
        elif what == 3:
            call.fail(500)
            calls.remove(call)
    for frame in session.take():
        session.sent(len(frame))


def _end(session: Any, calls: list[Any]) -> None:
    for call in calls:
        call.close()
    session.lost()
    assert (session.running, session.streams, session.calls, session.outgoing) == (0, 0, {}, {})
    fresh = Session().receive('{"id":"1","method":"GET"}', 0.0)
    assert fresh is not None
    assert fresh.respond() == '{"id":"1","status":200}'


def seeds() -> Path:
    """The frames of the session vectors as a corpus to begin with."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-wsx-session-"))
    for number, case in enumerate(json.loads((VECTORS / "session.json").read_text(encoding="utf-8"))):
        frames = [json.dumps(step["in"]) if "in" in step else step.get("in_text") for step in case["steps"]]
        given = [frame for frame in frames if frame]
        if given:
            parts = [*given, f"[{','.join(given)}]"]
            data = MARK.join(bytes([number % 4]) + frame.encode() for frame in parts)
            (folder / f"session-{number}").write_bytes(data)
    return folder


if __name__ == "__main__":
    atheris.Setup([*sys.argv, str(seeds())], feed)
    atheris.Fuzz()

"""Feeds junk to everything that reads bytes from outside, guided by coverage: fuzz_codec.py -max_total_time=60.

What is refused must be refused with the documented error; what is accepted must survive being written again.
"""

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["genro_asgi.wsx", "genro_asgi.jsoncodec"]):
    from genro_asgi.wsx.codec import as_message, decode_batch, decode_message, encode_message
    from genro_asgi.wsx.errors import TytxError, WsxError
    from genro_asgi.wsx.kinds import TYPED_TEXT
    from genro_asgi.wsx.tytx import decode, encode

VECTORS = Path(__file__).parent.parent / "vectors"


def feed(data: bytes) -> None:
    """One round: the first byte chooses the reader."""
    choice, data = data[:1], data[1:]
    if choice < b"\x60":
        feed_message(data, legacy=choice < b"\x20")
    elif choice < b"\x80":
        with suppress(WsxError):
            decode_batch(data)
    else:
        feed_document(data, {b"\x80": "json", b"\xa0": "msgpack", b"\xc0": "xml"}.get(bytes([choice[0] & 0xE0])))


def feed_message(data: bytes, legacy: bool) -> None:
    """A message that is accepted comes back as it was, after a first time that brings naive times to UTC."""
    try:
        kind, parsed = decode_message(data, legacy=legacy)
    except WsxError:
        return
    message = as_message(*decode_message(encode_message(as_message(kind, parsed), TYPED_TEXT)))
    assert as_message(*decode_message(encode_message(message, TYPED_TEXT))) == message


def feed_document(data: bytes, transport: Any) -> None:
    """The same for a document."""
    try:
        value = decode(data, transport)
    except TytxError:
        return
    # A list of elements is what XML cannot tell from the elements.
    through = None if transport == "xml" else transport
    value = decode(encode(value, through), through)
    assert decode(encode(value, through), through) == value


def seeds() -> Path:
    """The test vectors as a corpus to begin with."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-wsx-"))
    for name in ("decode.json", "refuse.json", "values.json"):
        for number, case in enumerate(json.loads((VECTORS / name).read_text(encoding="utf-8"))):
            for form in ("text", "hex"):
                if form in case:
                    data = case[form].encode() if form == "text" else bytes.fromhex(case[form])
                    choice = b"\x40" if name != "values.json" else b"\x80" if form == "text" else b"\xa0"
                    (folder / f"{name}-{form}-{number}").write_bytes(choice + data)
    return folder


if __name__ == "__main__":
    atheris.Setup([*sys.argv, str(seeds())], feed)
    atheris.Fuzz()

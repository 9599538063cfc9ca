"""The published test vectors of WSX/1, run against this implementation."""

import json
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.wsx.codec import decode_message, encode_fields
from genro_asgi.wsx.errors import WsxError
from genro_asgi.wsx.kinds import Form
from genro_asgi.wsx.tytx import decode, encode
from genro_asgi.wsx.tytx.literals import read_bytes

VECTORS = Path(__file__).parent.parent / "vectors"

READERS: dict[str, Any] = {
    "$N": Decimal,
    "$D": date.fromisoformat,
    "$DHZ": datetime.fromisoformat,
    "$DH": datetime.fromisoformat,
    "$H": time.fromisoformat,
    "$L": int,
    "$RAW": read_bytes,
}


def load(name: str) -> list[Any]:
    cases = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    assert len({case["name"] for case in cases}) == len(cases)
    return [pytest.param(case, id=case["name"]) for case in cases]


def value_of(written: Any) -> Any:
    if isinstance(written, list):
        return [value_of(item) for item in written]
    if isinstance(written, dict):
        if len(written) == 1 and (key := next(iter(written))) in READERS:
            return READERS[key](written[key])
        return {key: value_of(item) for key, item in written.items()}
    return written


def bytes_of(case: dict[str, Any]) -> bytes:
    if "hex" in case:
        pytest.importorskip("msgpack")
        return bytes.fromhex(case["hex"])
    if "repeat" in case:
        before, unit, times, after = case["repeat"]
        return f"{before}{unit * times}{after}".encode()
    return str(case["text"]).encode()


def form_of(case: dict[str, Any]) -> Form:
    words = case["form"]
    return Form("msgpack" if "msgpack" in words else "json", "typed" in words, "prefixed" in words, "legacy" in words)


def same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from True and from Decimal(1), and an aware datetime from a naive one."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right) and repr(left) == repr(right)


@pytest.mark.parametrize("case", load("decode.json"))
def test_decode(case: dict[str, Any]) -> None:
    data = bytes_of(case)
    frames = [data, data.decode()] if "text" in case else [data]
    for frame in frames:
        kind, message = decode_message(frame, legacy=case.get("legacy", False))
        assert kind == case["kind"]
        assert same(message.fields, value_of(case["fields"])), message.fields
        assert message.form == form_of(case)


@pytest.mark.parametrize("case", load("refuse.json"))
def test_refuse(case: dict[str, Any]) -> None:
    data = bytes_of(case)
    frames = [data, data.decode()] if "hex" not in case and data and data[:1] not in b"[5'\"w " else [data]
    for frame in frames:
        with pytest.raises(WsxError) as caught:
            decode_message(frame, legacy=case.get("legacy", False))
        error = caught.value
        assert (error.status, error.code, error.id, error.pointer) == tuple(
            case[name] for name in ("status", "code", "id", "pointer")
        )


@pytest.mark.parametrize("case", load("encode.json"))
def test_encode(case: dict[str, Any]) -> None:
    data = bytes_of(case)
    fields = value_of(case["fields"])
    assert encode_fields(fields, form_of(case)) == data
    # And it is read back as what it was, unless the form has no types.
    if form_of(case).typed:
        _, message = decode_message(data, legacy=form_of(case).legacy)
        assert same(message.fields, fields)


@pytest.mark.parametrize("case", load("values.json"))
def test_values(case: dict[str, Any]) -> None:
    value = value_of(case["value"])
    assert encode(value) == case["text"].encode()
    assert same(decode(case["text"]), value)


@pytest.mark.parametrize("case", load("values.json"))
def test_values_as_messagepack(case: dict[str, Any]) -> None:
    value, data = value_of(case["value"]), bytes_of(case)
    assert encode(value, "msgpack") == data
    assert same(decode(data, "msgpack"), value)

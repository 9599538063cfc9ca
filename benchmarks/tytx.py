"""The TYTX codec against orjson and genro-tytx, over documents of several shapes: python benchmarks/tytx.py [rounds].

Rounds are interleaved, and each figure is that of its best round: what else the machine does can only make it worse.
Documents with typed values are a text that says so for the codecs of TYTX, and dates and amounts as strings for orjson.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import orjson
from genro_tytx import from_tytx, to_tytx

from genro_asgi.wsx.tytx import decode, encode

RANDOM = Random(7)


def uid() -> str:
    """A UUID, the same in each run."""
    return str(UUID(int=RANDOM.getrandbits(128)))


def moment() -> str:
    """A time as JavaScript writes it."""
    value = datetime(2026, 1, 1) + timedelta(seconds=RANDOM.random() * 3e7)
    return value.isoformat(timespec="milliseconds") + "Z"


def line(number: int) -> dict[str, Any]:
    """A line of an order, with two typed values."""
    price = Decimal("12.50") + number
    due = date(2026, 5, 1 + number % 28)
    return {"code": f"ART-{number:04d}", "descr": "Widget blue, boxed", "qty": number, "price": price, "due": due}


UNTYPED: dict[str, Any] = {
    "a message": {
        "id": "7f3c1a52-0b1e-4d0a-9a55-1c2d3e4f5a6b",
        "status": 200,
        "data": {
            "customer": "Rossi",
            "notes": "n" * 600,
            "rows": [{"code": f"ART-{number}", "qty": number, "ok": True} for number in range(8)],
        },
    },
    "many fields": {f"field{number:02d}": number * 37 if number % 3 else f"value {number}" for number in range(58)},
    "a long text": {"id": uid(), "body": "The quick brown fox jumps over the lazy dog: 3 times, said Jim. " * 14},
    "URLs and times": [
        {"url": f"https://example.org:8443/a/{number}?x=1", "at": moment(), "n": number} for number in range(13)
    ],
    "UUIDs": [{"id": uid(), "parent": uid()} for _ in range(10)],
    "nested lists": [[number * other for other in range(12)] for number in range(22)],
    "an order": {
        "id": uid(),
        "created": moment(),
        "customer": {"name": "Rossi S.p.A.", "phone": "+39 02 1234567", "vat": "IT01234567890", "zip": "20121"},
        "lines": [
            {"sku": f"ART-{number}", "qty": number % 7, "price": number / 4, "descr": "Widget, blue"}
            for number in range(1000, 1011)
        ],
        "note": None,
    },
    "20 KB of orders": [{"id": number, "city": "Milano", "at": moment(), "paid": True} for number in range(240)],
}
TYPED: dict[str, Any] = {
    "3 typed values": {"birth": date(1990, 5, 15), "price": Decimal("99.50"), "at": datetime(2026, 3, 29, tzinfo=UTC)},
    "1 KB, 12 typed": {
        "id": "7f3c1a52-0b1e-4d0a-9a55-1c2d3e4f5a6b",
        "status": 200,
        "headers": {"content-type": "application/json"},
        "data": {
            "customer": "Rossi S.p.A.",
            "date": date(2026, 3, 29),
            "total": Decimal("1234.56"),
            "vat": Decimal("271.60"),
            "ts": datetime(2026, 3, 29, 10, 30, 5, 123000, UTC),
            "notes": "n" * 330,
            "rows": [line(number) for number in range(4)],
        },
    },
    "30 KB, 600 typed": [line(number) for number in range(300)],
}


def as_text(value: object) -> str:
    """What orjson is to write for what it does not know."""
    return value.isoformat() if isinstance(value, date) else str(value)


def contestants(value: Any) -> dict[str, Callable[[], Any]]:
    """What is measured, as ready as it can be."""
    ours, plain, theirs = encode(value), orjson.dumps(value, as_text), to_tytx(value)
    assert decode(ours) == from_tytx(theirs) == value
    return {
        "ours": lambda: encode(value),
        "ours back": lambda: decode(ours),
        "orjson": lambda: orjson.dumps(value, as_text),
        "orjson back": lambda: orjson.loads(plain),
        "genro-tytx": lambda: to_tytx(value),
        "genro-tytx back": lambda: from_tytx(theirs),
    }


def best_times(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Microseconds of each call, in its best round."""
    best = dict.fromkeys(calls, float("inf"))
    often = {name: max(1, int(300e-6 / timed(call, 3))) for name, call in calls.items()}
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], timed(call, often[name]) * 1e6)
    return best


def timed(call: Callable[[], Any], count: int) -> float:
    """Seconds of one of some calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def main() -> None:
    """Print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("| document | bytes | encode us | decode us | of orjson | as fast as genro-tytx |\n|---|---|---|---|---|---|")
    for name, value in (UNTYPED | TYPED).items():
        best = best_times(contestants(value), rounds)
        ours, plain, theirs = (best[who] + best[f"{who} back"] for who in ("ours", "orjson", "genro-tytx"))
        print(f"| {name} | {len(encode(value))} | {best['ours']:.2f} | {best['ours back']:.2f} ", end="")
        print(f"| {ours / plain:.2f} | {theirs / ours:.1f}x |", flush=True)
    print(f"\nPython {sys.version.split()[0]}, orjson {orjson.__version__}")


if __name__ == "__main__":
    main()

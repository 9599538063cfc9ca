"""Range headers: what is understood, refused, ignored and joined."""

import time
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.byte_ranges import parse_ranges
from genro_asgi.exceptions import HTTPBadRequest, HTTPException


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("Bytes = 0-4", [(0, 5)]),
        ("bytes=5-", [(5, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=0-99999999999999999999", [(0, 10)]),
        ("bytes=0-0,2-2", [(0, 1), (2, 3)]),
        ("bytes= 0-0 ,\t4-5", [(0, 1), (4, 6)]),
        ("bytes=4-5,0-0", [(0, 1), (4, 6)]),
        ("bytes=0-4,5-6", [(0, 7)]),
        ("bytes=0-8,2-3", [(0, 9)]),
        ("bytes=,0-0,", [(0, 1)]),
        ("bytes=0-1,20-30", [(0, 2)]),
        ("bytes=0-1,-0", [(0, 2)]),
        ("bytes=0-1,x", [(0, 2)]),
        ("bytes=5,a-b, - ,0 - 1", [(0, 2)]),
        ("items=0-4", None),
        ("bytes=" + ",".join(["0-0"] * 100), [(0, 1)]),
        ("bytes=" + ",".join(["0-0"] * 101), None),
    ],
)
def test_ranges_of_ten_bytes(header: str, ranges: list[tuple[int, int]] | None) -> None:
    assert parse_ranges(header, 10) == ranges


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("", "Malformed range header."), ("bytes", "Malformed range header."),
        ("bytes=4-2", "Range header: start must be less than end"),
        ("bytes=4-2,0-1", "Range header: start must be less than end"),
        *((f"bytes={part}", "Range header: range must be requested")
          for part in ("", ",", "-", "a-b", "1", "0-1-2", "+1-2", "٣-٤", "0-" + "9" * 31)),
    ],
)  # fmt: skip
def test_malformed(header: str, text: str) -> None:
    with pytest.raises(HTTPBadRequest) as caught:
        parse_ranges(header, 10)
    assert caught.value.detail == text


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=20-30", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_nothing_of_it_in_the_file(header: str, size: int) -> None:
    with pytest.raises(HTTPException) as caught:
        parse_ranges(header, size)
    assert caught.value.status_code == 416
    assert caught.value.headers == [("Content-Range", f"bytes */{size}")]


SPEC = st.one_of(
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    st.integers(0, 40).map(lambda first: f"{first}-"),
    st.integers(0, 40).map(lambda last: f"-{last}"),
)


def _wanted(spec: str, size: int) -> set[int]:
    first, _, last = spec.partition("-")
    if not first:
        return set(range(max(size - int(last), 0), size))
    return set(range(int(first), min(int(last) + 1 if last else size, size)))


@given(st.lists(SPEC, min_size=1, max_size=12), st.integers(0, 30))
@settings(derandomize=True, deadline=None)
def test_exactly_the_wanted_bytes_come_in_order_and_once(specs: list[str], size: int) -> None:
    wanted = set().union(*(_wanted(spec, size) for spec in specs))
    header = "bytes=" + ",".join(specs)
    if not wanted:
        with pytest.raises(HTTPException, match="416"):
            parse_ranges(header, size)
        return
    ranges = parse_ranges(header, size)
    assert ranges is not None
    assert [byte for start, end in ranges for byte in range(start, end)] == sorted(wanted)
    assert all(one[1] < two[0] for one, two in pairwise(ranges))


@given(st.text(max_size=60))
@settings(derandomize=True, deadline=None)
def test_junk_is_ignored_or_refused(junk: str) -> None:
    for header in (junk, f"bytes={junk}"):
        with suppress(HTTPException):
            parse_ranges(header, 100)


@pytest.mark.parametrize("junk", ["1" * 1_000_000, "1-" * 500_000, "0-0," * 250_000, " " * 1_000_000, "-" * 1_000_000])
def test_a_megabyte_of_junk_takes_no_time(junk: str) -> None:
    start = time.perf_counter()
    with suppress(HTTPBadRequest):
        parse_ranges(f"bytes={junk}", 100)
    assert time.perf_counter() - start < 0.5

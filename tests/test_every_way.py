"""The same handler, asked in every way: one table of calls, and the same results, errors and decisions for all.

A transport joins by a class with the three methods of Way, and a line in WAYS.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets

from genro_asgi.wsx.client import Client, connect
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.kinds import BINARY, TEXT, TYPED_TEXT, Form
from genro_asgi.wsx.outgoing import Outgoing
from genro_asgi.wsx.session import Session
from genro_asgi.wsx.tytx import decode, encode

SAME: Any = object()


@dataclass(frozen=True)
class Case:
    """One call, and what becomes of it.

    `value` is the result where values keep their types, `plain` where they do not; `text` is what HTTP says when it
    sends the value as text. An error has `code` and `title` instead.
    """

    path: str
    method: str = "GET"
    query: dict[str, Any] = field(default_factory=dict)
    data: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    timeout: int | None = None
    status: int = 200
    value: Any = None
    plain: Any = SAME
    text: str | None = None
    code: str | None = None
    title: str | None = None
    detail: str | None = None
    details: Any = None
    told: dict[str, str] = field(default_factory=dict)
    baked: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [self.method, self.path, *(f"{name}={value}" for name, value in self.query.items())]
        return " ".join([*parts, *([self.token] if self.token else [])])[:60]


@dataclass
class Outcome:
    """What came back: the value or the problem, headers, cookies, and the pieces of a stream."""

    status: int
    data: Any
    headers: dict[str, str]
    cookies: dict[str, str]
    pieces: str | None = None


class Way(ABC):
    """One way to ask the server."""

    #: Where the server is asked.
    url: str
    #: Whether values keep their types.
    typed: bool
    #: Whether numbers and the like that are sent alone become texts.
    texts: bool
    #: Whether nothing but the problem is left of an error.
    bare_errors = False

    @abstractmethod
    async def call(self, case: Case) -> Outcome:
        """Ask, and wait for the answer; ConnectionError when it is broken off."""

    @abstractmethod
    def begin(self, case: Case, *, vanish: bool = False) -> Any:
        """An async context manager: the call has been sent when it is entered, and is given up when it is left.

        Who vanishes says nothing: the connection is gone.
        """

    def expected(self, case: Case) -> Any:
        """What the call is to be answered here."""
        if self.texts and case.text is not None:
            return case.text
        return case.value if self.typed or case.plain is SAME else case.plain


class Http(Way):
    """HTTP, with JSON or with the typed values of a TYTX transport."""

    texts = True

    def __init__(self, url: str, tytx: str | None = None) -> None:
        self.url, self.tytx, self.typed = url, tytx, tytx is not None

    def request(self, client: httpx.AsyncClient, case: Case) -> httpx.Request:
        headers = dict(case.headers)
        if case.token:
            headers["authorization"] = f"Bearer {case.token}"
        if case.timeout:
            headers["x-request-timeout"] = str(case.timeout)
        if case.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in case.cookies.items())
        body: dict[str, Any] = {}
        if self.tytx:
            headers["x-tytx-transport"] = self.tytx
        if case.data is not None and self.tytx:
            headers["content-type"] = f"application/vnd.tytx+{self.tytx}"
            body["content"] = encode(case.data, self.tytx)  # type: ignore[arg-type]
        elif case.data is not None:
            body["json"] = plain(case.data)
        return client.build_request(case.method, case.path, params=case.query, headers=headers, **body)

    async def call(self, case: Case) -> Outcome:
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as client:
            try:
                answer = await client.send(self.request(client, case))
            except httpx.RemoteProtocolError as error:
                raise ConnectionError from error
            return Outcome(
                answer.status_code,
                self.read(answer),
                dict(answer.headers),
                kept(self.cookies(answer)),
                answer.text if answer.headers.get("content-type") == "application/x-ndjson" else None,
            )

    def cookies(self, answer: httpx.Response) -> dict[str, Any]:
        """The cookies of an answer as WSX tells them; the last one of a name counts."""
        lines = answer.headers.get_list("set-cookie")
        morsels = [morsel for line in lines for morsel in SimpleCookie(line).values()]
        return {one.key: {"value": one.value, "max_age": int(one["max-age"] or -1)} for one in morsels}

    def read(self, answer: httpx.Response) -> Any:
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind.startswith("application/vnd.tytx+"):
            assert kind == f"application/vnd.tytx+{self.tytx}"
            return decode(answer.content, self.tytx)  # type: ignore[arg-type]
        if kind.endswith(("/json", "+json")):
            return answer.json()
        return (answer.text if kind.startswith("text/") else answer.content) or None

    @asynccontextmanager
    async def begin(self, case: Case, *, vanish: bool = False) -> AsyncIterator[None]:
        # To give up is to go, here.
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as client:
            asking = asyncio.ensure_future(client.send(self.request(client, case)))
            yield
            asking.cancel()
            await asyncio.wait([asking])


class Wsx(Way):
    """WSX over a WebSocket, in one of its forms."""

    texts = False

    def __init__(self, url: str, form: Form) -> None:
        self.url, self.form, self.typed = "ws" + url.removeprefix("http"), form, form.typed

    @asynccontextmanager
    async def asked(
        self, case: Case, *, vanish: bool = False
    ) -> AsyncIterator[tuple[Outgoing, Callable[[], Awaitable[None]]]]:
        """The call, and a function that writes what the session has to say."""
        headers = {"authorization": f"Bearer {case.token}"} if case.token else {}
        async with websockets.connect(self.url, subprotocols=["wsx.1"], additional_headers=headers) as socket:  # type: ignore[list-item]
            session = Session("client")

            async def flush() -> None:
                for frame in session.take():
                    await socket.send(frame)

            async def read() -> None:
                async for frame in socket:
                    session.receive(frame, 0.0)
                    await flush()

            call = session.call(
                case.method,
                case.path,
                case.data if self.typed else plain(case.data),
                query=case.query,
                headers=case.headers,
                cookies=case.cookies,
                timeout=case.timeout,
                form=self.form,
                now=0.0,
            )
            await flush()
            reader = asyncio.create_task(read())
            try:
                yield call, flush
            finally:
                if vanish:
                    socket.transport.abort()
                reader.cancel()
                await asyncio.wait([reader])

    async def call(self, case: Case) -> Outcome:
        async with self.asked(case) as (call, _):
            await ended(call)
            assert call.response is not None
            answer = call.response.fields
            items = [call.items.take() for _ in range(len(call.items))]
            cookies = kept(answer.get("cookies") or {})
            pieces = "".join(items) if call.streamed else None
            return Outcome(answer["status"], answer.get("data"), answer.get("headers") or {}, cookies, pieces)

    @asynccontextmanager
    async def begin(self, case: Case, *, vanish: bool = False) -> AsyncIterator[None]:
        async with self.asked(case, vanish=vanish) as (call, flush):
            yield
            if vanish:
                return
            call.cancel()
            await flush()
            await asyncio.sleep(0)


class WsxClient(Way):
    """WSX through the Python client, which raises errors without their headers and the pieces before them."""

    texts = False
    typed = True
    bare_errors = True

    def __init__(self, url: str) -> None:
        self.url = "ws" + url.removeprefix("http")

    async def request(self, client: Client, case: Case) -> Outcome:
        seconds = None if case.timeout is None else case.timeout / 1000
        options: dict[str, Any] = {"query": case.query, "headers": case.headers, "cookies": case.cookies}
        try:
            answer = await client.request(case.method, case.path, case.data, timeout=seconds, **options)
        except WsxCallError as error:
            return Outcome(error.status, error.data, {}, {})
        cookies = kept(answer.cookies)
        pieces = "".join(answer.data or ()) if "x-ndjson" in answer.headers.get("content-type", "") else None
        return Outcome(answer.status, answer.data, answer.headers, cookies, pieces)

    async def call(self, case: Case) -> Outcome:
        async with connect(self.url, case.token and f"Bearer {case.token}") as client:
            return await self.request(client, case)

    @asynccontextmanager
    async def begin(self, case: Case, *, vanish: bool = False) -> AsyncIterator[None]:
        # Calls of one that resumes wait for it to come back.
        async with connect(self.url, case.token and f"Bearer {case.token}", resume=False) as client:
            asking = asyncio.ensure_future(self.request(client, case))
            yield
            if vanish:
                assert client._connection is not None
                client._connection.socket.transport.abort()
                await asking
            asking.cancel()
            await asyncio.wait([asking])


async def ended(call: Outgoing) -> None:
    """Wait for the answer to a call of a session."""
    came = asyncio.Event()
    call.on_change = came.set
    async with asyncio.timeout(20):
        while not call.done:
            came.clear()
            await came.wait()


def kept(cookies: Any) -> dict[str, str]:
    """The values of the cookies that are not taken back."""
    return {name: cookie["value"] for name, cookie in cookies.items() if cookie.get("max_age") != 0}


def plain(value: Any) -> Any:
    """Typed values as JSON has them."""
    return json.loads(json.dumps(value, default=str))


WAYS: dict[str, Callable[[str], Way]] = {
    "HTTP": Http,
    "HTTP, TYTX JSON": lambda url: Http(url, "json"),
    "HTTP, TYTX MessagePack": lambda url: Http(url, "msgpack"),
    "WSX text": lambda url: Wsx(url, TEXT),
    "WSX typed text": lambda url: Wsx(url, TYPED_TEXT),
    "WSX MessagePack": lambda url: Wsx(url, BINARY),
    "WSX, Python client": WsxClient,
    "HTTP behind hooks": Http,
    "WSX behind hooks": lambda url: Wsx(url, TYPED_TEXT),
}


def refused(path: str, status: int, code: str, title: str, **more: Any) -> Case:
    return Case(path, status=status, code=code, title=title, **more)


def invalid(path: str, parameter: str, message: str, **more: Any) -> Case:
    details = [{"parameter": parameter, "message": message}]
    return refused(path, 400, "VALIDATION", "Bad Request", details=details, **more)


NEEDED: dict[str, Any] = {"code": "UNAUTHENTICATED", "title": "Unauthorized", "status": 401}
REFUSED: dict[str, Any] = {"code": "FORBIDDEN", "title": "Forbidden", "status": 403}

CASES = [
    # What a handler returns.
    Case("/value/dict", value={"a": [1, None, True], "b": {"c": "è"}}),
    Case("/value/list", value=[1, "two", None]),
    Case("/value/empty", value={}),
    Case("/value/text", value="plain"),
    Case("/value/int", value=42, text="42"),
    Case("/value/float", value=1.5, text="1.5"),
    Case("/value/bool", value=True, text="True"),
    Case("/value/none", value=None),
    Case("/value/decimal", value={"price": Decimal("10.50")}, plain={"price": "10.50"}),
    Case("/value/date", value={"day": date(2025, 1, 31)}, plain={"day": "2025-01-31"}),
    Case("/value/datetime", value={"at": datetime(2025, 1, 31, 10, 30, tzinfo=UTC)},
         plain={"at": "2025-01-31T10:30:00+00:00"}),
    Case("/value/time", value={"hour": time(10, 30)}, plain={"hour": "10:30:00"}),
    Case("/value/uuid", value={"id": "00000000-0000-0000-0000-000000000007"}),
    Case("/value/enum", value={"colour": "red"}),
    Case("/value/set", value={"set": [1]}),
    Case("/value/tuple", value={"pair": [1, 2]}),
    Case("/value/dataclass", value={"x": 1, "y": 2}),
    Case("/value/model", value={"quantity": 2, "price": Decimal("1.10")}, plain={"quantity": 2, "price": "1.10"}),
    Case("/value/marked", value={"text": "12::N"}),
    Case("/threaded", query={"n": "4"}, value={"double": 8}),
    Case("/inline", value={"double": 2}),
    Case("/dressed", status=201, value={"made": True}, told={"x-kind": "made"}, baked={"seen": "1"}),
    Case("/response", status=202, value={"own": True}, told={"x-kind": "own"}),
    Case("/baked", value={"baked": True}, baked={"first": "1", "second": "a b;c"}),
    Case("/baked_in", value={"own": True}, baked={"fourth": "4"}),
    Case("/moved", status=303, told={"location": "/value/dict"}),
    Case("/nothing", "DELETE", status=204),
    Case("/climb", query={"steps": "3"}, value=3, text="3"),
    # What a handler is given.
    Case("/typed", query={"n": "1", "flag": "true", "day": "2025-01-31", "size": "l"},
         value=[1, True, "2025-01-31", "l"]),
    Case("/typed", query={"n": "-7", "unknown": "ignored"}, value=[-7, False, None, "s"]),
    Case("/many", query={"n": ["1", "2"]}, value=[1, 2]),
    Case("/segments/a/2", value=["a", 2]),
    Case("/segments/a", value=["a", 0]),
    Case("/told", query={"a": "1"}, headers={"x-kind": "mine"}, cookies={"taste": "sweet"},
         value={"method": "GET", "path": "/told", "query": {"a": "1"}, "cookie": "sweet", "header": "mine"}),
    Case("/fields", "POST", data={"a": 1, "b": "x"}, value=[1, "x"]),
    Case("/fields", "POST", query={"a": "2"}, data={"b": "x"}, value=[2, "x"]),
    Case("/order", "POST", data={"order": {"quantity": 2, "price": Decimal("1.25")}},
         value={"total": Decimal("2.50")}, plain={"total": "2.50"}),
    Case("/whole", "POST", data={"any": [1, None, {"deep": "è"}], "text": "12::N"},
         value={"any": [1, None, {"deep": "è"}], "text": "12::N"}),
    Case("/whole", "POST", data={"price": Decimal("1.50"), "day": date(2025, 1, 31)},
         value={"price": Decimal("1.50"), "day": date(2025, 1, 31)}, plain={"price": "1.50", "day": "2025-01-31"}),
    # What it is not given.
    invalid("/typed", "n", "is missing"),
    invalid("/typed", "n", "must be an integer", query={"n": "x"}),
    invalid("/typed", "day", "must be a date like 2025-01-31", query={"n": "1", "day": "2025-02-30"}),
    invalid("/typed", "size", "must be one of s, l", query={"n": "1", "size": "xl"}),
    invalid("/fields", "a", "must be an integer", method="POST", data={"a": "q"}),
    invalid("/order", "order.quantity", "Input should be greater than or equal to 1", method="POST",
            data={"order": {"quantity": 0, "price": "1"}}),
    refused("/whole", 413, "TOO_LARGE", "Content Too Large", method="POST", data={"text": "x" * 3000}),
    # Where there is no handler.
    refused("/nowhere", 404, "NOT_FOUND", "Not Found"),
    refused("/segments/a/2/more", 404, "NOT_FOUND", "Not Found"),
    refused("/segments/@a", 404, "NOT_FOUND", "Not Found"),
    refused("/told", 405, "BAD_METHOD", "Method Not Allowed", method="POST", told={"allow": "GET, HEAD, OPTIONS"}),
    # What it raises.
    refused("/refuse", 404, "NOT_FOUND", "Not Found", query={"status": "404"}, detail="No, thank you."),
    refused("/refuse", 418, "TEAPOT", "I'm a Teapot", query={"status": "418", "code": "TEAPOT"}),
    refused("/refuse", 503, "BUSY", "Service Unavailable", query={"status": "503", "code": "BUSY"},
            detail="Service Unavailable"),
    refused("/too_many", 429, "RATE_LIMITED", "Too Many Requests", detail="Not so fast.", told={"retry-after": "7"}),
    refused("/who_are_you", 401, "UNAUTHENTICATED", "Unauthorized", detail="Say who you are.",
            told={"www-authenticate": "Bearer"}),
    refused("/missing", 404, "NOT_FOUND", "Not Found", detail="There is no such thing.",
            details=[{"parameter": "thing"}]),
    refused("/crash", 500, "INTERNAL", "Internal Server Error", detail="Internal Server Error"),
    refused("/crash_in_a_thread", 500, "INTERNAL", "Internal Server Error", detail="Internal Server Error"),
    refused("/mapped", 409, "CONFLICT", "Conflict", detail="It is broken."),
    refused("/forbidden", 403, "FORBIDDEN", "Forbidden", detail="Not you."),
    # Who may ask.
    Case("/whoever"),
    Case("/whoever", token="tok-ada", value="ada"),
    Case("/admins", **NEEDED),
    Case("/admins", token="tok-bob", **REFUSED),
    Case("/admins", token="tok-ada", value=["ada", ["admin"]]),
    Case("/readers", **NEEDED),
    Case("/readers", token="tok-bob", value="read"),
    Case("/readers", token="tok-ada", value="read"),
    Case("/anybody", **NEEDED),
    Case("/anybody", token="tok-bob", value="somebody"),
    # How long it may take.
    refused("/hasty", 504, "DEADLINE", "Gateway Timeout"),
    refused("/wait", 504, "DEADLINE", "Gateway Timeout", timeout=100),
    Case("/wait", query={"seconds": "0.01"}, timeout=5000, value="waited"),
    # What comes in pieces.
    refused("/lines", 409, "CONFLICT", "Conflict", query={"n": "3", "fail_at": "0"}, detail="No more of these."),
    invalid("/lines", "n", "is missing"),
]  # fmt: skip


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, every_way_sites: dict[str, Any]) -> Way:
    name: str = request.param
    return WAYS[name](every_way_sites["--hooks" if name.endswith("behind hooks") else "--plain"].url)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.asyncio
async def test_a_call(way: Way, case: Case) -> None:
    outcome = await way.call(case)
    assert outcome.status == case.status
    if case.code is None:
        expected = way.expected(case)
        assert (type(outcome.data), outcome.data) == (type(expected), expected)
    else:
        problem = outcome.data
        assert set(problem) == {"type", "title", "status", "detail", "error", "code", "retry"} | (
            {"details"} if case.details else set()
        )
        assert (problem["status"], problem["code"], problem["title"]) == (case.status, case.code, case.title)
        assert problem["retry"] is (case.status in (429, 503))
        assert problem.get("details") == case.details
        if case.detail is not None:
            assert (problem["detail"], problem["error"]) == (case.detail, case.detail)
    if case.code is None or not way.bare_errors:
        assert {name: outcome.headers.get(name) for name in case.told} == case.told
    assert outcome.cookies == case.baked


@pytest.mark.asyncio
async def test_bytes(way: Way) -> None:
    """JSON has none: there they are base64."""
    outcome = await way.call(Case("/value/bytes"))
    assert outcome.data == (b"\x00\xff" if way.typed or way.texts else "AP8=")


@pytest.mark.parametrize("path", ["/lines", "/lines_of_a_thread"])
@pytest.mark.parametrize("n", [0, 1, 100])
@pytest.mark.asyncio
async def test_what_comes_in_pieces(way: Way, path: str, n: int) -> None:
    outcome = await way.call(Case(path, query={"n": str(n)}))
    assert outcome.status == 200
    assert (outcome.pieces or "") == "".join(f'{{"n": {item}}}\n' for item in range(n))
    assert outcome.headers["content-type"] == "application/x-ndjson"


@pytest.mark.asyncio
async def test_pieces_that_end_with_an_error_do_not_look_whole(way: Way) -> None:
    """Where the status has been told already, the answer is broken off."""
    asking = way.call(Case("/lines", query={"n": "3", "fail_at": "2"}))
    if way.texts:
        with pytest.raises(ConnectionError):
            await asking
    else:
        outcome = await asking
        assert (outcome.status, outcome.data["code"]) == (409, "CONFLICT")
        assert way.bare_errors or outcome.pieces == '{"n": 0}\n{"n": 1}\n'


class Diary:
    """What happens in the server; it is the same for all tests, one after the other."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.seen: list[str] = []

    async def read(self) -> list[str]:
        self.seen.extend((await self.client.get("/events")).json())
        return self.seen

    async def until(self, event: str) -> None:
        async with asyncio.timeout(15):
            while event not in await self.read():
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def diary(way: Way) -> AsyncIterator[Diary]:
    async with httpx.AsyncClient(base_url="http" + way.url.removeprefix("ws").removeprefix("http")) as client:
        diary = Diary(client)
        await diary.read()
        diary.seen.clear()
        yield diary


@pytest.mark.parametrize("vanish", [False, True], ids=["told", "vanished"])
@pytest.mark.parametrize("path", ["/wait", "/endless"])
@pytest.mark.asyncio
async def test_a_call_that_is_given_up_is_cancelled(way: Way, path: str, vanish: bool, diary: Diary) -> None:
    async with way.begin(Case(path), vanish=vanish):
        await diary.until("waiting")
        assert diary.seen == ["waiting"]
    await diary.until("cancelled")
    # Another one has ended behind it, and it was once.
    await way.call(Case("/value/int"))
    assert await diary.read() == ["waiting", "cancelled"]


CLEANED = ["cleaned last", "cleaned first"]


@pytest.mark.parametrize(
    ("how", "status", "events"),
    [
        ("answer", 200, [*CLEANED, "background"]),
        ("stream", 200, ["streamed", *CLEANED, "background"]),
        ("fail", 409, ["undone for HTTPException", *CLEANED]),
        ("crash", 500, ["undone for RuntimeError", *CLEANED]),
    ],
)
@pytest.mark.asyncio
async def test_what_is_left_to_do_is_done(way: Way, how: str, status: int, events: list[str], diary: Diary) -> None:
    assert (await way.call(Case("/left_to_do", query={"how": how}))).status == status
    await diary.until(events[-1])
    assert sorted(diary.seen) == sorted(events)
    assert [event for event in diary.seen if event != "background"] == [e for e in events if e != "background"]


@pytest.mark.parametrize("vanish", [False, True], ids=["told", "vanished"])
@pytest.mark.asyncio
async def test_what_is_left_to_do_is_done_after_a_call_that_was_given_up(way: Way, vanish: bool, diary: Diary) -> None:
    async with way.begin(Case("/left_to_do", query={"how": "wait"}), vanish=vanish):
        await diary.until("waiting")
    await diary.until("cleaned first")
    assert diary.seen == ["waiting", "undone for CancelledError", *CLEANED]


@pytest.mark.asyncio
async def test_pieces_that_do_not_come_in_time(way: Way, diary: Diary) -> None:
    """Over WSX the time counts until the last one; over HTTP it is that of the handler, until the first."""
    if way.texts:
        async with way.begin(Case("/endless", timeout=100)):
            await diary.until("waiting")
            await way.call(Case("/wait", query={"seconds": "0.2"}))
            assert "cancelled" not in await diary.read()
    else:
        outcome = await way.call(Case("/endless", timeout=200))
        assert (outcome.status, outcome.data["code"]) == (504, "DEADLINE")
        assert way.bare_errors or outcome.pieces == "{}\n"
    await diary.until("cancelled")


@pytest.mark.asyncio
async def test_many_calls_at_once_are_not_mixed_up(way: Way) -> None:
    answers = await asyncio.gather(*[way.call(Case("/threaded", query={"n": str(n)})) for n in range(20)])
    assert [answer.data for answer in answers] == [{"double": 2 * n} for n in range(20)]


@pytest.mark.parametrize("form", ["text", "msgpack"])
@pytest.mark.asyncio
async def test_progress_is_the_same_over_events_and_items(every_way_sites: dict[str, Any], form: Any) -> None:
    url = every_way_sites["--plain"].url
    expected = [{"fraction": step / 3, "text": f"step {step}"} for step in range(3)] + [{"result": 3}]
    async with httpx.AsyncClient(base_url=url, headers={"accept": "text/event-stream"}) as client:
        events = (await client.get("/climb", params={"steps": "3"})).text.split("\n\n")
    assert [json.loads(event.partition("\ndata: ")[2]) for event in events if event] == expected
    async with connect("ws" + url.removeprefix("http"), form=form) as wsx:
        assert [item async for item in wsx.stream("/climb", {"steps": "3"})] == expected
        assert await wsx.get("/climb", {"steps": "3"}) == 3

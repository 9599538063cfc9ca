"""Where a request stands in a trace, and what the calls made for it carry."""

import asyncio
import contextvars
from typing import Any

import pytest

from genro_asgi import trace
from genro_asgi.jsoncodec import dumps
from genro_asgi.request import HttpRequest, MsgRequest, get_current_request, set_current_request
from genro_asgi.trace import TraceContext

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
HEADERS = [
    ("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"),
    ("tracestate", "congo=t61"),
    ("tracestate", "rojo=1"),
    ("baggage", "user=ann;seen"),
    ("baggage", "tenant=%C3%A9"),
]


async def http(*headers: tuple[str, str]) -> HttpRequest:
    request = HttpRequest()
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    await request.init({"type": "http", "method": "GET", "path": "/", "headers": raw}, None, defer_body=True)  # type: ignore[arg-type]
    return request


async def message(*headers: tuple[str, str]) -> MsgRequest:
    request = MsgRequest()
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    fields = {"id": "1", "method": "GET", "path": "/", "headers": joined}
    await request.init(message=dumps(fields))
    return request


@pytest.mark.parametrize("make", [http, message])
@pytest.mark.asyncio
async def test_a_request_is_a_child_of_its_caller(make: Any) -> None:
    request = await make(*HEADERS)
    found = request.trace
    assert found == TraceContext(TRACE_ID, found.span_id, PARENT_ID, 1, "congo=t61,rojo=1")
    assert request.trace is found
    assert request.baggage == {"user": "ann", "tenant": "é"}
    assert (await make(*HEADERS)).trace.span_id != found.span_id


@pytest.mark.parametrize("make", [http, message])
@pytest.mark.parametrize("parent", [(), (("traceparent", f"00-{'0' * 32}-{PARENT_ID}-01"),)])
@pytest.mark.asyncio
async def test_without_a_good_parent_there_is_no_trace(make: Any, parent: Any) -> None:
    request = await make(*parent, ("tracestate", "congo=t61"), ("baggage", "user=ann"))
    assert request.trace is None
    assert request.baggage == {"user": "ann"}
    assert carried_by(request) == {"baggage": "user=ann"}


@pytest.mark.asyncio
async def test_a_parent_that_comes_twice_is_none() -> None:
    assert (await http(HEADERS[0], HEADERS[0])).trace is None


def carried_by(request: Any) -> Any:
    """What a call carries that is made while the request is answered."""

    def call() -> Any:
        set_current_request(request)
        return trace.hand_on()

    return contextvars.copy_context().run(call)


@pytest.mark.parametrize("make", [http, message])
@pytest.mark.asyncio
async def test_calls_made_for_a_request_are_its_children(make: Any) -> None:
    assert get_current_request() is None
    assert trace.hand_on() is None
    assert carried_by(await make()) is None
    request = await make(*HEADERS)
    assert carried_by(request) == {
        "traceparent": f"00-{TRACE_ID}-{request.trace.span_id}-01",
        "tracestate": "congo=t61,rojo=1",
        "baggage": "user=ann;seen,tenant=%C3%A9",
    }


@pytest.mark.parametrize("make", [http, message])
@pytest.mark.asyncio
async def test_a_trace_can_be_begun_or_ended(make: Any) -> None:
    request = await make()
    request.trace = TraceContext(TRACE_ID, PARENT_ID)
    assert carried_by(request) == {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}
    assert request.trace.parent_id == ""
    request = await make(*HEADERS[:3])
    request.trace = None
    assert carried_by(request) is None


@pytest.mark.asyncio
async def test_tasks_and_threads_of_a_handler_belong_to_its_trace() -> None:
    request = await http(*HEADERS[:1])

    async def handler() -> list[Any]:
        set_current_request(request)
        return [trace.hand_on(), await asyncio.create_task(later()), await asyncio.to_thread(trace.hand_on)]

    async def later() -> Any:
        return trace.hand_on()

    assert request.trace is not None
    assert await asyncio.create_task(handler()) == [{"traceparent": request.trace.traceparent}] * 3

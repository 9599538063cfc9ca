"""The trace of a call (WSX/1, section 15): over real servers, from handler to handler."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from genro_asgi.wsx.client import connect

ROOT = Path(__file__).parent.parent
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
HEADERS = {
    "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01",
    "tracestate": "congo=t61,rojo=1",
    "baggage": "user=ann,tenant=%C3%A9;seen",
}
NOWHERE = {"trace": None, "baggage": {}}


@pytest.fixture
def new_site(new_demo: Any) -> Any:
    return lambda: new_demo(str(ROOT / "tests" / "servers" / "wsx_traced.py"))


def is_child(place: dict[str, Any], parent_id: str) -> str:
    """The span of a place, which is in our trace and has the parent."""
    span_id: str = place["trace"].pop("span_id")
    trace = {"trace_id": TRACE_ID, "parent_id": parent_id, "flags": 1, "state": "congo=t61,rojo=1"}
    assert place == {"trace": trace, "baggage": {"user": "ann", "tenant": "é"}}
    assert span_id != parent_id
    return span_id


@pytest.mark.asyncio
async def test_one_trace_from_http_over_two_more_servers(new_site: Any) -> None:
    first, second, third = new_site().url, new_site().url, new_site().url
    async with httpx.AsyncClient(base_url=first, headers=HEADERS) as client:
        answer = (await client.get("/relay", params={"to": f"{second} {third}"})).json()
        here = is_child(answer["here"], PARENT_ID)
        assert is_child(answer["streamed"], here) != here
        there = is_child(answer["there"]["here"], here)
        assert is_child(answer["there"]["there"], there) != is_child(answer["there"]["streamed"], there)
        answer = (await client.get("/relay_from_a_thread", params={"to": second})).json()
        is_child(answer["there"], is_child(answer["here"], PARENT_ID))
    # A call that belongs to no trace begins none.
    async with httpx.AsyncClient(base_url=first) as client:
        answer = (await client.get("/relay", params={"to": second})).json()
    assert answer == {"here": NOWHERE, "there": NOWHERE, "streamed": NOWHERE}


@pytest.mark.parametrize("form", ["text", "msgpack"])
@pytest.mark.asyncio
async def test_a_handler_does_not_see_how_it_was_asked(new_site: Any, form: Any) -> None:
    site = new_site()
    async with connect(site.url, form=form) as wsx, httpx.AsyncClient(base_url=site.url) as client:
        over_http = (await client.get("/place", headers=HEADERS)).json()
        over_wsx = (await wsx.request("GET", "/place", headers=HEADERS)).data
        assert is_child(over_http, PARENT_ID) != is_child(over_wsx, PARENT_ID)
        # A parent that is none is no reason to refuse a call.
        bad = HEADERS | {"traceparent": f"00-{TRACE_ID}-{'0' * 16}-01"}
        lost = {"trace": None, "baggage": {"user": "ann", "tenant": "é"}}
        assert (await client.get("/place", headers=bad)).json() == lost
        assert (await wsx.request("GET", "/place", headers=bad)).data == lost
        # Calls of one connection are not mixed up.
        assert await wsx.get("/place") == NOWHERE

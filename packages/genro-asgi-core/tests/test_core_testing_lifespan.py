import asyncio
from typing import Any

import pytest

from genro_asgi.testing import AsyncClient, LifespanManager
from genro_asgi.types import ASGIApp, Receive, Scope, Send


def lifespan(*startup: Any, shutdown: Any = "lifespan.shutdown.complete", fails: str = "") -> ASGIApp:
    """An application that answers its phases with these messages."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": str(dict(scope["state"])).encode()})
            scope["state"]["mine"] = 1
            return
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["pool"] = "open"
        for kind in startup:
            await send({"type": kind, "message": "text"})
        if fails == "startup":
            raise LookupError("inside")
        assert (await receive())["type"] == "lifespan.shutdown"
        scope["state"]["pool"] = "closed"
        if fails == "shutdown":
            raise LookupError("inside")
        if shutdown:
            await send({"type": shutdown, "message": "text"})

    return app


COMPLETE = "lifespan.startup.complete"


@pytest.mark.asyncio
async def test_an_application_starts_and_stops() -> None:
    async with LifespanManager(lifespan(COMPLETE)) as manager:
        assert manager.state == {"pool": "open"}
    assert manager.state == {"pool": "closed"}
    assert manager.ended


@pytest.mark.asyncio
async def test_each_request_gets_a_copy_of_the_state() -> None:
    async with AsyncClient(lifespan(COMPLETE)) as client:
        assert client.state == {"pool": "open"}
        assert (await client.get("/")).text == "{'pool': 'open'}"
        assert (await client.get("/")).text == "{'pool': 'open'}"
        assert client.state == {"pool": "open"}


@pytest.mark.asyncio
async def test_no_lifespan_is_fine() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async with LifespanManager(silent) as manager:
        assert manager.state == {}
    async with AsyncClient(lifespan(COMPLETE), lifespan=False) as client:
        assert client.state == {}
        assert (await client.get("/")).text == "{}"


@pytest.mark.asyncio
async def test_a_failed_start_is_raised() -> None:
    with pytest.raises(RuntimeError, match="The application failed at its startup: text"):
        async with LifespanManager(lifespan("lifespan.startup.failed", fails=""), timeout=0.05):
            raise AssertionError("not reached")


@pytest.mark.asyncio
@pytest.mark.parametrize("messages", [[], ["lifespan.startup.failed"]])
async def test_the_exception_of_a_failed_start_is_raised(messages: list[str]) -> None:
    with pytest.raises(LookupError, match="inside"):
        async with AsyncClient(lifespan(*messages, fails="startup")):
            raise AssertionError("not reached")


@pytest.mark.asyncio
async def test_a_failed_stop_is_raised() -> None:
    with pytest.raises(RuntimeError, match="The application failed at its shutdown: text"):
        async with LifespanManager(lifespan(COMPLETE, shutdown="lifespan.shutdown.failed")):
            pass
    with pytest.raises(LookupError, match="inside"):
        async with LifespanManager(lifespan(COMPLETE, fails="shutdown")):
            pass


@pytest.mark.asyncio
async def test_the_error_of_a_test_comes_first() -> None:
    with pytest.raises(ZeroDivisionError):
        async with AsyncClient(lifespan(COMPLETE, fails="shutdown")):
            raise ZeroDivisionError


@pytest.mark.asyncio
async def test_an_application_may_just_return_at_its_end() -> None:
    async with LifespanManager(lifespan(COMPLETE, shutdown="")):
        pass


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("startup", "shutdown", "text"),
    [
        (["lifespan.shutdown.complete"], "", "'lifespan.shutdown.complete' is not a message for the startup"),
        (["http.response.start"], "", "'http.response.start' is not a message for the startup"),
        ([COMPLETE, COMPLETE], "", "The startup was answered twice"),
        ([COMPLETE], COMPLETE, "'lifespan.startup.complete' is not a message for the shutdown"),
    ],
)
async def test_the_specification_is_kept(startup: list[str], shutdown: str, text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        async with LifespanManager(lifespan(*startup, shutdown=shutdown)) as manager:
            await manager.until(lambda: False, "") if len(startup) > 1 else None


@pytest.mark.asyncio
async def test_every_wait_ends() -> None:
    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["state"].get("answer"):
            await send({"type": COMPLETE})
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"did not answer lifespan\.startup within 0\.05 s"):
        async with LifespanManager(deaf, timeout=0.05):
            raise AssertionError("not reached")
    manager = LifespanManager(deaf, timeout=0.05)
    manager.state["answer"] = True
    with pytest.raises(TimeoutError, match=r"did not answer lifespan\.shutdown within 0\.05 s"):
        async with manager:
            pass
    assert manager.ended

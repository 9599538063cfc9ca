"""A site that tells where its calls stand in a trace, and calls others; `python wsx_traced.py` prints its URL."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from genro_asgi import AsgiServer, BaseRequest, route
from genro_asgi.wsx.client import connect
from genro_asgi.wsx.sync_client import connect as connect_blocking


def place_of(request: BaseRequest) -> dict[str, Any]:
    """What the handler of a request sees of its trace."""
    return {"trace": None if request.trace is None else asdict(request.trace), "baggage": request.baggage}


class Traced(AsgiServer):
    """Places, and relays to the places of another."""

    @route(methods="GET")
    async def place(self, request: BaseRequest) -> Any:
        return place_of(request)

    @route(methods="GET")
    async def places(self, request: BaseRequest) -> AsyncIterator[Any]:
        yield place_of(request)

    @route(methods="GET")
    async def relay(self, request: BaseRequest, to: str) -> Any:
        """This place and those of two calls to another site; with several URLs the first one relays to the next."""
        first, _, rest = to.partition(" ")
        async with connect(first) as wsx:
            there = await wsx.get("/relay", {"to": rest}) if rest else await wsx.get("/place")
            return {"here": place_of(request), "there": there, "streamed": await anext(wsx.stream("/places"))}

    @route(methods="GET")
    def relay_from_a_thread(self, request: BaseRequest, to: str) -> Any:
        with connect_blocking(to) as wsx:
            return {"here": place_of(request), "there": wsx.get("/place")}

    @route(methods="POST")
    async def fail(self) -> None:
        raise RuntimeError("broken")


if __name__ == "__main__":
    Traced(port=0).run()

"""Handlers below the plugins of genro-routes that a configuration can name."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.datastructures.forms import UploadFile
from genro_asgi.request import BaseRequest, Request
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.websocket import WebSocket


class Order(BaseModel):
    pieces: int


class Shop(AsgiApplication):
    @route()
    def asked(self, request: BaseRequest, view: Request, number: Annotated[int, Field(ge=3)] = 5) -> list[Any]:
        return [request.path, view.url.path, number]

    @route()
    def many(self, *args: int, **options: str) -> list[Any]:
        return [args, options]

    @route()
    async def order(self, body_data: Order) -> Order:
        return body_data

    @route()
    async def file(self, file: UploadFile | None = None) -> bool:
        return file is None

    @route(websocket=True)
    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("plugins", [{}, {"pydantic": {}}, "pydantic, env", {"logging": {"before": False}}])
async def test_plugins_change_nothing_about_arguments(plugins: Any) -> None:
    server = AsgiServer(plugins=plugins)
    server.mount("shop", Shop())
    async with AsyncClient(server) as client:
        assert (await client.get("/shop/asked?number=3")).json() == ["/shop/asked", "/shop/asked", 3]
        assert (await client.get("/shop/asked?number=2")).status_code == 400
        assert (await client.get("/shop/many/1/2?a=b")).json() == [[1, 2], {"a": "b"}]
        assert (await client.get("/shop/many/1/x")).status_code == 400
        assert (await client.post("/shop/order", json={"pieces": 2})).json() == {"pieces": 2}
        assert (await client.post("/shop/order", json={"pieces": "x"})).status_code == 400
        assert (await client.get("/shop/file")).text == "True"
        async with client.websocket("/shop/socket"):
            pass


@pytest.mark.parametrize("cls", [BaseRequest, Request, UploadFile, WebSocket])
def test_pydantic_takes_them_as_they_are(cls: Any) -> None:
    from pydantic import TypeAdapter

    adapter = TypeAdapter(cls)
    assert adapter.json_schema() == {}
    with pytest.raises(ValueError, match="instance of"):
        adapter.validate_python({})

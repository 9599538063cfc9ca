"""The page for those who come from Starlette says where each name is, and there it is."""

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "coming-from-starlette.md"
ROW = re.compile(
    r"^\| `starlette\.(?P<module>[\w.]+)`: (?P<names>[^|]+) \| `(?P<home>genro_asgi\.[\w.]+)`", re.MULTILINE
)
NAME = re.compile(r"`(\w+)`")
PLACES = [
    (match["home"], name)
    for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))
    for name in NAME.findall(match["names"])
]
#: What those who change nothing but their imports may count on.
PROMISED = set(
    NAME.findall(
        """
        `Request` `HTTPConnection` `ClientDisconnect` `Response` `HTMLResponse` `PlainTextResponse` `JSONResponse`
        `RedirectResponse` `StreamingResponse` `FileResponse` `WebSocket` `WebSocketState` `WebSocketDisconnect`
        `WebSocketClose` `Headers` `MutableHeaders` `URL` `URLPath` `QueryParams` `FormData` `UploadFile` `MultiDict`
        `ImmutableMultiDict` `State` `Secret` `CommaSeparatedStrings` `Address` `BackgroundTask` `BackgroundTasks`
        `HTTPException` `WebSocketException` `run_in_threadpool` `iterate_in_threadpool` `StaticFiles` `CORSMiddleware`
        `GZipMiddleware` `SessionMiddleware` `TrustedHostMiddleware` `HTTPSRedirectMiddleware` `ServerErrorMiddleware`
        `ExceptionMiddleware` `BaseHTTPMiddleware` `RequestBodyLimitMiddleware` `WSGIMiddleware` `TestClient`
        """
    )
)


@pytest.mark.parametrize(("home", "name"), PLACES)
def test_a_name_is_where_the_page_says(home: str, name: str) -> None:
    assert hasattr(import_module(home), name)


def test_every_promised_name_is_on_the_page() -> None:
    assert {name for _, name in PLACES} >= PROMISED

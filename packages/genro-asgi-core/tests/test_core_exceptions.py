import pickle
from http import HTTPStatus

import pytest

from genro_asgi import exceptions
from genro_asgi.exceptions import (
    ClientDisconnect,
    ConfigError,
    HTTPException,
    HTTPNotFound,
    Redirect,
    WebSocketDisconnect,
    WebSocketException,
    problem,
    status_phrase,
)

FIXED = {
    "HTTPBadRequest": (400, "Bad Request", "BAD_REQUEST"),
    "HTTPUnauthorized": (401, "Unauthorized", "UNAUTHENTICATED"),
    "HTTPForbidden": (403, "Forbidden", "FORBIDDEN"),
    "HTTPNotFound": (404, "Not Found", "NOT_FOUND"),
    "HTTPMethodNotAllowed": (405, "Method Not Allowed", "BAD_METHOD"),
    "HTTPRequestTimeout": (408, "Request Timeout", "REQUEST_TIMEOUT"),
    "HTTPConflict": (409, "Conflict", "CONFLICT"),
    "HTTPGone": (410, "Gone", "ERROR_410"),
    "HTTPContentTooLarge": (413, "Content Too Large", "TOO_LARGE"),
    "HTTPUriTooLong": (414, "URI Too Long", "URI_TOO_LONG"),
    "HTTPUnsupportedMediaType": (415, "Unsupported Media Type", "UNSUPPORTED_MEDIA_TYPE"),
    "HTTPUnprocessableContent": (422, "Unprocessable Content", "ERROR_422"),
    "HTTPTooManyRequests": (429, "Too Many Requests", "RATE_LIMITED"),
    "HTTPHeaderFieldsTooLarge": (431, "Request Header Fields Too Large", "HEADERS_TOO_LARGE"),
    "HTTPServiceUnavailable": (503, "Service Unavailable", "OVERLOADED"),
    "HTTPGatewayTimeout": (504, "Gateway Timeout", "DEADLINE"),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_class_knows_its_status_and_takes_a_detail(name: str) -> None:
    status, phrase, code = FIXED[name]
    cls = getattr(exceptions, name)
    plain, detailed = cls(), cls("because")
    assert (plain.status_code, plain.detail, plain.code, plain.headers) == (status, phrase, code, None)
    assert (detailed.status_code, detailed.detail) == (status, "because")
    assert repr(detailed) == f"{name}(status_code={status}, detail='because')"
    assert isinstance(plain, HTTPException)


def test_every_fixed_class_is_in_the_table_above() -> None:
    public = {name for name in exceptions.__all__ if name.startswith("HTTP")}
    assert public == set(FIXED) | {"HTTPException"}


def test_an_exception_reads_like_starlettes() -> None:
    error = HTTPException(404)
    assert str(error) == "404: Not Found"
    assert repr(error) == "HTTPException(status_code=404, detail='Not Found')"
    assert HTTPException(HTTPStatus.NOT_FOUND, "").detail == ""
    assert str(HTTPException(HTTPStatus.NOT_FOUND)) == "404: Not Found"


@pytest.mark.parametrize("headers", [{"Allow": "GET"}, [("Allow", "GET"), ("X-A", "1")], None])
def test_headers_are_kept_as_given(headers: object) -> None:
    assert HTTPException(405, headers=headers).headers is headers  # type: ignore[arg-type]


def test_code_retry_and_details_are_kept() -> None:
    error = HTTPNotFound("no", {"A": "b"}, code="RESUME_LOST", retry=True, details=[1])
    assert (error.code, error.retry, error.details, error.headers) == ("RESUME_LOST", True, [1], {"A": "b"})


@pytest.mark.parametrize(
    "error",
    [
        HTTPException(status_code=418, detail="short", headers={"a": "b"}, code="TEAPOT"),
        HTTPNotFound("gone"),
        HTTPNotFound(),
        Redirect(url="/x"),
        WebSocketException(code=1001, reason="bye"),
        WebSocketDisconnect(1001),
    ],
    ids=repr,
)
def test_exceptions_cross_processes(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert repr(copy) == repr(error)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (499, "Client Closed Request"),
        (498, "Client Error"),
        (598, "Server Error"),
        (299, "Unknown Status"),
    ],
)
def test_every_status_has_a_phrase(status: int, phrase: str) -> None:
    assert status_phrase(status) == phrase


def test_a_problem_has_its_members_in_order() -> None:
    body = problem(404, "No such thing", details=["x"])
    assert list(body.items()) == [
        ("type", "about:blank"),
        ("title", "Not Found"),
        ("status", 404),
        ("detail", "No such thing"),
        ("error", "No such thing"),
        ("code", "NOT_FOUND"),
        ("retry", False),
        ("details", ["x"]),
    ]


def test_a_problem_without_a_detail_says_the_phrase() -> None:
    body = problem(HTTPStatus.CONFLICT, code="DUPLICATE_ID", retry=True)
    assert body["detail"] == body["error"] == body["title"] == "Conflict"
    assert (body["code"], body["retry"], "details" in body) == ("DUPLICATE_ID", True, False)
    assert type(body["status"]) is int


@pytest.mark.parametrize("status", [500, 503, 599])
def test_what_broke_inside_stays_inside(status: int) -> None:
    body = problem(status, "password is hunter2", details={"trace": "x"})
    assert body["detail"] == body["error"] == status_phrase(status)
    assert "details" not in body


def test_a_redirect_says_where_to() -> None:
    error = Redirect("/a?b=c")
    assert (error.status_code, error.url, error.headers) == (302, "/a?b=c", [("Location", "/a?b=c")])
    assert Redirect("/x", 307).status_code == 307


def test_a_redirect_encodes_what_a_url_cannot_hold() -> None:
    error = Redirect("/caffè nero?q=100%25&r=[1]#top")
    assert error.headers == [("Location", "/caff%C3%A8%20nero?q=100%25&r=[1]#top")]
    assert error.url == "/caffè nero?q=100%25&r=[1]#top"


@pytest.mark.parametrize("bad", ["\r", "\n", "\0"])
def test_a_redirect_cannot_split_the_response(bad: str) -> None:
    with pytest.raises(ValueError, match="holds a CR, LF or NUL"):
        Redirect(f"/x{bad}Set-Cookie: a=b")


def test_websocket_exceptions_read_well() -> None:
    assert str(WebSocketException(1008, "policy")) == "1008: policy"
    assert repr(WebSocketException()) == "WebSocketException(code=1000, reason='')"
    assert str(WebSocketDisconnect(1006, None)) == "WebSocket disconnected with code 1006"
    assert repr(WebSocketDisconnect(1001, "bye")) == "WebSocketDisconnect(code=1001, reason='bye')"
    assert WebSocketDisconnect(1006, None).reason == ""


@pytest.mark.parametrize("cls", [ClientDisconnect, ConfigError])
def test_the_other_exceptions_are_plain(cls: type[Exception]) -> None:
    assert str(cls("text")) == "text"

"""Uploaded files and the forms that hold them."""

import io
import threading
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import Any, cast

import pytest

from genro_asgi.datastructures import FormData, Headers, UploadFile


class Recorder(io.BytesIO):
    """A file that notes the threads it is used in."""

    def __init__(self, rolled: bool, limit: int = 0) -> None:
        super().__init__()
        self._rolled = rolled
        self._max_size = limit
        self.threads: list[threading.Thread] = []

    def write(self, data: Any) -> int:
        self.threads.append(threading.current_thread())
        return super().write(data)


@pytest.fixture(params=["memory", "disk", "other"])
def file(request: pytest.FixtureRequest) -> Iterator[Any]:
    makers: Any = {
        "memory": SpooledTemporaryFile,
        "disk": lambda: SpooledTemporaryFile(max_size=1),  # noqa: SIM115 - closed below
        "other": TemporaryFile,
    }
    file = makers[request.param]()
    yield file
    file.close()


@pytest.mark.asyncio
async def test_a_file_is_written_and_read(file: Any) -> None:
    upload = UploadFile(file, size=0, filename="a.txt", headers=Headers({"content-type": "text/plain"}))
    await upload.write(b"hello ")
    await upload.write(b"world")
    assert upload.size == 11
    await upload.seek(6)
    assert await upload.read(2) == b"wo"
    assert await upload.read() == b"rld"
    assert (upload.filename, upload.content_type) == ("a.txt", "text/plain")
    await upload.close()
    assert file.closed


def test_what_is_not_told_is_not_known() -> None:
    upload = UploadFile(io.BytesIO())
    assert (upload.size, upload.filename, upload.content_type) == (None, None, None)
    assert repr(upload) == "UploadFile(filename=None, size=None, headers=Headers({}))"
    assert upload.in_memory() is False


@pytest.mark.asyncio
async def test_a_size_nobody_told_is_not_guessed() -> None:
    upload = UploadFile(io.BytesIO())
    await upload.write(b"x")
    assert upload.size is None


@pytest.mark.parametrize(
    ("rolled", "limit", "threaded"), [(False, 0, False), (False, 10, False), (False, 4, True), (True, 10, True)]
)
@pytest.mark.asyncio
async def test_what_goes_to_disk_goes_through_a_thread(rolled: bool, limit: int, threaded: bool) -> None:
    file = Recorder(rolled, limit)
    await UploadFile(cast("Any", file)).write(b"12345")
    assert (file.threads == [threading.main_thread()]) is not threaded


@pytest.mark.asyncio
async def test_a_form_closes_its_files() -> None:
    one, two = UploadFile(io.BytesIO()), UploadFile(io.BytesIO())
    form = FormData([("a", "1"), ("f", one), ("f", two)])
    assert form["f"] is two
    assert form.getlist("f") == [one, two]
    assert form["a"] == "1"
    await form.close()
    assert one.file.closed
    assert two.file.closed
    await FormData().close()


def test_a_form_is_made_like_any_multidict() -> None:
    form = FormData({"a": "1"}, b="2")
    assert form.multi_items() == [("a", "1"), ("b", "2")]
    assert FormData(form) == form
    assert repr(form) == "FormData([('a', '1'), ('b', '2')])"

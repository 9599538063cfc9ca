"""Templates of pages: compiled once, anew when their file is another one, by many threads at once without a fault."""

import gc
import os
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mako._ast_util
import pytest
from genropy_sites import SITE, Home, Served
from mako.exceptions import TopLevelLookupException
from mako.lookup import TemplateLookup
from test_same_answers import ask

from genropy_asgi.templates import COUNTS_FOR_ALL, MOST, Lookups, alone, install, lookup_class


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "second" / "page.tpl").write_text("second ${word}")
    (tmp_path / "second" / "outer.tpl").write_text('<%include file="page.tpl"/>!')
    return [str(tmp_path / "first"), str(tmp_path / "second")]


@pytest.fixture
def lookups() -> Lookups:
    return Lookups(lookup_class(TemplateLookup))


def test_one_template_for_all_pages(lookups: Lookups, folders: list[str]) -> None:
    options = {"output_encoding": "utf-8", "encoding_errors": "replace"}
    one = lookups.get(folders, **options)
    template = one.get_template("page.tpl")
    assert template.render(word="è") == "second è".encode()
    assert lookups.get(list(folders), **options).get_template("page.tpl") is template
    assert lookups.get(folders[1:], **options) is not one
    assert lookups.get(folders).get_template("page.tpl").render(word="è") == "second è"


def test_a_file_that_changes_is_compiled_again(lookups: Lookups, folders: list[str]) -> None:
    lookup, file = lookups.get(folders), Path(folders[1]) / "page.tpl"
    texts = []
    for text in ("one", "two", "six"):  # of one size, and within one second
        file.write_text(text)
        os.utime(file, ns=(0, len(texts)))
        texts.append((lookup.get_template("page.tpl").render(), lookup.get_template("outer.tpl").render()))
    assert texts == [("one", "one!"), ("two", "two!"), ("six", "six!")]


def test_a_folder_before_it_gets_one_and_loses_it(lookups: Lookups, folders: list[str]) -> None:
    lookup, other = lookups.get(folders), Path(folders[0]) / "page.tpl"
    assert lookup.get_template("outer.tpl").render(word="x") == "second x!"
    other.write_text("first")
    assert lookup.get_template("outer.tpl").render(word="x") == "first!"
    other.unlink()
    assert lookup.get_template("outer.tpl").render(word="x") == "second x!"
    (Path(folders[1]) / "page.tpl").unlink()
    with pytest.raises(TopLevelLookupException):
        lookup.get_template("page.tpl")


def test_a_template_that_is_none_is_told_each_time(lookups: Lookups, folders: list[str]) -> None:
    file = Path(folders[0]) / "page.tpl"
    for _ in range(2):
        file.write_text("${")
        with pytest.raises(Exception, match="Expected"):
            lookups.get(folders).get_template("page.tpl")
    file.write_text("well")
    assert lookups.get(folders).get_template("page.tpl").render() == "well"


def test_they_do_not_grow_without_end() -> None:
    lookups = Lookups(lambda **options: object())
    first = lookups.get(["0"])
    for number in range(1, MOST):
        lookups.get([str(number)])
    assert lookups.get(["0"]) is first
    lookups.get(["one more"])
    assert len(lookups._kept) == MOST
    assert lookups.get(["0"]) is first


class Finalized:
    """Garbage whose end lets other threads run, as that of a connection does."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        threading.Event().wait(0)


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(50, 5, 5)
    sys.setswitchinterval(1e-5)
    yield
    gc.set_threshold(*before)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_collector")
def test_cold_templates_from_eight_threads(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(mako._ast_util, "parse", alone(mako._ast_util.parse))
    text = "".join(f"${{len(dict(a=[n, {number}], b=(n, dict(c=n))))}}\n" for number in range(20))
    for number in range(8):
        (tmp_path / f"{number}.tpl").write_text(text)

    def hammer(thread: int) -> set[str]:
        told = set()
        for _ in range(4):
            lookups = Lookups(lookup_class(TemplateLookup))
            for number in range(8):
                Finalized()
                told.add(lookups.get([str(tmp_path)]).get_template(f"{(number + thread) % 8}.tpl").render(n=1))
        return told

    with ThreadPoolExecutor(8) as threads:
        assert [told for told in threads.map(hammer, range(8)) if told != {"2\n" * 20}] == []
    assert gc.isenabled()


def test_one_at_a_time_and_without_the_collector() -> None:
    inside, most, seen = 0, 0, set()

    def parse(number: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        seen.add(gc.isenabled())
        threading.Event().wait(0.001)
        inside -= 1
        if number == 7:
            raise ValueError(number)
        return number

    wrapped = alone(parse)
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(wrapped, number) for number in range(8)]
        assert [future.result() for future in futures[:7]] == list(range(7))
        with pytest.raises(ValueError, match="7"):
            futures[7].result()
    assert (most, seen, gc.isenabled()) == (1, {False}, True)


def test_the_lock_is_for_the_interpreters_that_need_it() -> None:
    assert ((3, 11, 8) <= sys.version_info < (3, 12)) <= (not COUNTS_FOR_ALL)
    assert (sys.version_info < (3, 11, 8)) <= COUNTS_FOR_ALL


def test_it_is_put_in_place_once(monkeypatch: Any) -> None:
    webpage = types.ModuleType("gnr.web.gnrwebpage")
    monkeypatch.setitem(sys.modules, "gnr.web.gnrwebpage", webpage)
    monkeypatch.setattr(mako._ast_util, "parse", before := mako._ast_util.parse)
    install()
    assert (vars(webpage).get("TemplateLookup"), mako._ast_util.parse) == (None, before), "a GenroPy without mako"
    webpage.TemplateLookup = TemplateLookup  # type: ignore[attr-defined]
    install()
    one, parse = webpage.TemplateLookup(["x"]), mako._ast_util.parse
    install()
    assert (webpage.TemplateLookup(["x"]) is one, mako._ast_util.parse is parse) == (True, True)
    assert (isinstance(one, TemplateLookup), parse is before) == (True, not COUNTS_FOR_ALL)


def test_a_template_of_the_site_that_changes(home: Home, ours: Served) -> None:
    page = home.path / "projects/testproject/packages/testpkg/webpages/templated.py"
    template = home.instance(SITE) / "site/resources/templated.tpl"
    template.parent.mkdir(exist_ok=True)
    page.write_text("class GnrCustomWebPage:\n    pagetemplate = 'templated'\n")
    try:
        for word in (b"ONE", b"TWO"):
            template.write_text(f"<html><body>{word.decode()}</body></html>")
            answer = ask(ours, "GET", "/testpkg/templated")
            assert (answer.status, word in answer.body) == (200, True)
    finally:
        page.unlink()
        template.unlink()

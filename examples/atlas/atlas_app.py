"""The atlas: countries, languages and currencies to search, read, change and export."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from genro_asgi import AsgiApplication, BaseRequest, HTTPNotFound, Redirect, Response, RoutingClass, route

from .alike import look_alikes
from .iso import iso_tables
from .live import Live
from .models import Country, Currency, Language, Record
from .pages import page
from .store import Database, Row, Table, Taken, Unknown

SearchText = Annotated[str, Field(max_length=100)]
PageNumber = Annotated[int, Field(ge=1, le=1_000_000)]
PageSize = Annotated[int, Field(ge=1, le=100)]
NameCount = Annotated[int, Field(ge=2, le=3000)]
CatalogueName = Literal["countries", "languages", "currencies"]


class Catalogue(RoutingClass):
    """What can be done with each table: everybody may look, editors may change."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @route(methods="GET")
    def search(self, text: SearchText = "", page: PageNumber = 1, size: PageSize = 20) -> dict[str, Any]:
        """A page of the records that hold every word of `text` in a name or a code."""
        total = self.table.count(text)
        items = self.table.search(text, size, (page - 1) * size)
        return {"items": items, "total": total, "page": page, "pages": -(-total // size)}

    @route(methods="GET")
    def detail(self, code: str) -> Row:
        """One record."""
        return self.table.get(code)

    @route(methods="GET", media_type="text/csv")
    def export(self, request: BaseRequest, text: SearchText = "") -> Iterator[str]:
        """The records that `search` finds, as CSV, sent while they are read."""
        request.response.set_header("content-disposition", f'attachment; filename="{self.table.name}.csv"')
        return csv_lines(self.table.columns, self.table.batches(text))

    @route(methods="DELETE", auth_rule="editor")
    def remove(self, request: BaseRequest, code: str) -> None:
        """Forget a record."""
        self.table.remove(code)
        request.response.status_code = 204

    def _add(self, request: BaseRequest, record: Record) -> Row:
        request.response.status_code = 201
        return self.table.add(record.model_dump())

    def _change(self, code: str, record: Record) -> Row:
        return self.table.change(code, record.model_dump())


class Countries(Catalogue):
    """The catalogue of countries."""

    @route(methods="POST", auth_rule="editor")
    def add(self, request: BaseRequest, record: Country) -> Row:
        """Add a country."""
        return self._add(request, record)

    @route(methods="PUT", auth_rule="editor")
    def change(self, code: str, record: Country) -> Row:
        """Put `record` in the place of the country with that code."""
        return self._change(code, record)


class Languages(Catalogue):
    """The catalogue of languages."""

    @route(methods="POST", auth_rule="editor")
    def add(self, request: BaseRequest, record: Language) -> Row:
        """Add a language."""
        return self._add(request, record)

    @route(methods="PUT", auth_rule="editor")
    def change(self, code: str, record: Language) -> Row:
        """Put `record` in the place of the language with that code."""
        return self._change(code, record)


class Currencies(Catalogue):
    """The catalogue of currencies."""

    @route(methods="POST", auth_rule="editor")
    def add(self, request: BaseRequest, record: Currency) -> Row:
        """Add a currency."""
        return self._add(request, record)

    @route(methods="PUT", auth_rule="editor")
    def change(self, code: str, record: Currency) -> Row:
        """Put `record` in the place of the currency with that code."""
        return self._change(code, record)


class Application(AsgiApplication):
    """The pages, the three catalogues, the board, and what the pages ask besides."""

    openapi_info: ClassVar[dict[str, Any]] = {"title": "Atlas", "version": "1.0.0"}
    error_map: ClassVar[dict[type[Exception], int]] = {Unknown: 404, Taken: 409}

    def on_init(self, database: str = "atlas.sqlite", demo_token: str | None = None) -> None:
        """Take the options of config.yaml: a path, from here if it is relative, and a token to show to everybody."""
        self.database = Database(self.base_dir / database)
        self.demo_token = demo_token
        self.catalogues = {
            catalogue.table.name: catalogue
            for catalogue in (
                Countries(Table(self.database, "countries")),
                Languages(Table(self.database, "languages")),
                Currencies(Table(self.database, "currencies")),
            )
        }
        for name, catalogue in self.catalogues.items():
            self.add_branches({"name": name, "instance": catalogue})
        self.live = Live(self)
        self.add_branches({"name": "live", "instance": self.live})

    def on_startup(self) -> None:
        """Fill the database when it is new."""
        self.database.fill(iso_tables)
        self.look_alikes = self.server.executor("alike")(look_alikes)

    async def on_shutdown(self) -> None:
        """Close the database, when the prices have stopped."""
        await self.live.close()
        self.database.close()

    @route(methods="GET")
    def index(self) -> Response:
        """The page of the catalogues."""
        if not self.server.request.path.endswith("/"):
            raise Redirect(f"{self.mount_name}/")  # the page names its files and questions from there
        return page("catalogues")

    @route(methods="GET")
    def board(self) -> Response:
        """The page that is shared live, over WSX."""
        return page("board")

    @route(methods="GET")
    def names(self) -> Response:
        """The page that shows how far a long call is."""
        return page("names")

    @route(methods="GET")
    def static(self, name: str) -> Response:
        """A file of the pages."""
        found = self.load_resource(name=name)
        if found is None:
            raise HTTPNotFound(f"The pages have no file {name!r}.")
        content, media_type = found
        return Response(content, media_type=media_type)

    @route(methods="GET")
    def about(self) -> dict[str, Any]:
        """How many records there are, and the token that anybody may use."""
        counts = {name: catalogue.table.count() for name, catalogue in self.catalogues.items()}
        return {"counts": counts, "demo_token": self.demo_token}

    @route(methods="GET")
    async def alike(self, catalogue: CatalogueName = "languages", names: NameCount = 1000) -> Any:
        """Names that are nearly alike: the result, or the progress too for who accepts events."""
        return self.look_alikes.options(on_cancel="kill").start(str(self.database.path), catalogue, names)

    @route(methods="GET", auth_rule="editor")
    async def me(self, request: BaseRequest) -> dict[str, Any]:
        """Who the credentials say is asking; 401 or 403 for those who are no editors."""
        return {"identity": (request.auth or {}).get("identity"), "tags": request.auth_tags}


def csv_lines(columns: Sequence[str], batches: Iterable[list[Row]]) -> Iterator[str]:
    """CSV with a line of headings, a batch of lines at a time."""
    yield csv_text([columns])
    for batch in batches:
        yield csv_text([record[column] for column in columns] for record in batch)


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Lines of CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()

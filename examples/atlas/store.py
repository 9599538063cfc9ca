"""The atlas in SQLite: connections for threads, and a gateway to each table."""

import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]

#: What a record of each table holds; `code` is its key, in upper or lower case.
SCHEMA = {
    "countries": {
        "code": "TEXT PRIMARY KEY COLLATE NOCASE",
        "alpha_3": "TEXT NOT NULL UNIQUE",
        "numeric": "TEXT NOT NULL UNIQUE",
        "name": "TEXT NOT NULL",
        "official_name": "TEXT NOT NULL",
        "flag": "TEXT NOT NULL",
    },
    "languages": {
        "code": "TEXT PRIMARY KEY COLLATE NOCASE",
        "alpha_2": "TEXT UNIQUE",
        "name": "TEXT NOT NULL",
        "kind": "TEXT NOT NULL",
    },
    "currencies": {
        "code": "TEXT PRIMARY KEY COLLATE NOCASE",
        "numeric": "TEXT NOT NULL UNIQUE",
        "name": "TEXT NOT NULL",
    },
}

SEARCHED = ("name", "official_name", "code", "alpha_2", "alpha_3", "numeric")


class Unknown(LookupError):
    """There is no record with that code."""


class Taken(ValueError):
    """Another record has that code already."""


class Database:
    """A SQLite file used by many threads: each piece of work takes an idle connection, or opens one more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; a transaction that is left open is undone."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            connection.rollback()
            self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        # A connection is used by one thread at a time, but not always by the same: the pieces of a stream are fetched
        # by whatever thread is free.
        connection = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        # With a write-ahead log an export that takes its time keeps nobody from writing.
        connection.execute("PRAGMA journal_mode = WAL")
        return connection

    def fill(self, read: Callable[[], Mapping[str, Iterable[Row]]]) -> None:
        """Create the tables with the records that `read` gives, all or none; a database that has them is left alone."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")  # of several processes that start at once, one fills
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                for name, records in read().items():
                    columns = ", ".join(f"{column} {kind}" for column, kind in SCHEMA[name].items())
                    connection.execute(f"CREATE TABLE {name} ({columns}, searched TEXT NOT NULL)")
                    table = Table(self, name)
                    connection.executemany(table.insertion, map(table.row, records))
                connection.execute("PRAGMA user_version = 1")
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connections, when no work is left."""
        while self._idle:
            self._idle.pop().close()


class Table:
    """One table: its records are found, read, written and exported."""

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        self.name = name
        self.columns = tuple(SCHEMA[name])
        self.insertion = f"INSERT INTO {name} VALUES (:{', :'.join(self.columns)}, :searched)"
        self._selection = f"SELECT {', '.join(self.columns)} FROM {name}"

    def row(self, record: Row) -> Row:
        """The record as the table keeps it: with the text that is searched and sorted by, the name first."""
        texts = [folded(record[column] or "") for column in SEARCHED if column in record]
        # A tab comes before all that is in a text, so that United States comes before United States Minor Islands.
        return {**record, "searched": " \t ".join(texts)}

    def count(self, text: str = "") -> int:
        """How many records hold every word of `text` in a name or a code."""
        condition, words = _containing(text)
        with self.database.connection() as connection:
            total: int = connection.execute(f"SELECT count(*) FROM {self.name} {condition}", words).fetchone()[0]
        return total

    def search(self, text: str, limit: int, offset: int) -> list[Row]:
        """The records that hold every word of `text`: those with that very word first, then by name."""
        condition, words = _containing(text)
        order = "ORDER BY instr(' ' || searched || ' ', ?) = 0, instr(searched, ?) <> 1, searched LIMIT ? OFFSET ?"
        values = (*words, f" {folded(text)} ", folded(text), limit, offset)
        with self.database.connection() as connection:
            return [dict(row) for row in connection.execute(f"{self._selection} {condition} {order}", values)]

    def batches(self, text: str, size: int = 500) -> Iterator[list[Row]]:
        """The same records by name, some at a time: what is exported never lies in memory as a whole."""
        condition, words = _containing(text)
        with (
            self.database.connection() as connection,
            closing(connection.execute(f"{self._selection} {condition} ORDER BY searched", words)) as cursor,
        ):
            while rows := cursor.fetchmany(size):
                yield [dict(row) for row in rows]

    def get(self, code: str) -> Row:
        """The record with that code; Unknown when there is none."""
        with self.database.connection() as connection:
            row = connection.execute(f"{self._selection} WHERE code = ?", (code,)).fetchone()
        if row is None:
            raise Unknown(f"There is no {code!r} among the {self.name}.")
        return dict(row)

    def add(self, record: Row) -> Row:
        """Keep a new record; Taken when one of its codes is."""
        self._write(self.insertion, self.row(record), record["code"])
        return record

    def change(self, code: str, record: Row) -> Row:
        """Put `record` in the place of the one with that code; Unknown when there is none, Taken when a code is."""
        values = ", ".join(f"{column} = :{column}" for column in (*self.columns, "searched"))
        statement = f"UPDATE {self.name} SET {values} WHERE code = :old_code"
        self._write(statement, {**self.row(record), "old_code": code}, code)
        return record

    def remove(self, code: str) -> None:
        """Forget a record; Unknown when there is none."""
        self._write(f"DELETE FROM {self.name} WHERE code = :code", {"code": code}, code)

    def _write(self, statement: str, values: Row, code: str) -> None:
        """Run a statement that touches the record with that code."""
        try:
            with self.database.connection() as connection:
                touched = connection.execute(statement, values).rowcount
        except sqlite3.IntegrityError as error:
            # "UNIQUE constraint failed: countries.alpha_3"
            column = str(error).rpartition(".")[2]
            raise Taken(f"The {column} {values[column]!r} belongs to another of the {self.name}.") from error
        if not touched:
            raise Unknown(f"There is no {code!r} among the {self.name}.")


def folded(text: str) -> str:
    """Lower case without accents, for a search that finds Côte d'Ivoire as cote."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def _containing(text: str) -> tuple[str, list[str]]:
    words = folded(text).split()
    return ("WHERE " + " AND ".join(["instr(searched, ?) > 0"] * len(words)) if words else ""), words

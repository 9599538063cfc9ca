"""Which names are nearly alike: work for a process, which tells how far it is."""

from pathlib import Path
from typing import Any

from genro_asgi.executors import report

from .store import Database, Table, folded

#: Pairs that are told, the closest first.
MOST = 50
#: Letters of a name that may be two letters away from another one.
LONG = 7


def look_alikes(path: str, catalogue: str, names: int) -> dict[str, Any]:
    """Compare the first so many names of a catalogue with each other: those a letter apart, or two if they are long."""
    database = Database(Path(path))
    try:
        found = [record["name"] for record in Table(database, catalogue).search("", names, 0)]
    finally:
        database.close()
    texts = [folded(name) for name in found]
    total = max(len(found) * (len(found) - 1) // 2, 1)
    pairs: list[tuple[int, str, str]] = []
    compared = told = 0
    for index, name in enumerate(found):
        for other in range(index + 1, len(found)):
            apart = distance(texts[index], texts[other])
            if apart <= (1 if len(name) < LONG else 2):
                pairs.append((apart, name, found[other]))
        compared += len(found) - index - 1
        if 200 * compared // total > told:
            told = 200 * compared // total
            report(compared / total, f"{name}: {len(pairs)} pairs so far")
    return {"names": len(found), "compared": compared, "found": len(pairs), "pairs": sorted(pairs)[:MOST]}


def distance(one: str, other: str) -> int:
    """How many letters to change, add or take away lead from one text to the other; 3 stands for more than two."""
    if abs(len(one) - len(other)) > 2:
        return 3
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, opposite in enumerate(other, 1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (letter != opposite)))
        if min(line) > 2:
            return 3
        above = line
    return min(above[-1], 3)

"""The board: notes that everybody shares, who is there, and prices that move while somebody looks."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from genro_asgi import HTTPNotFound, MsgRequest, RoutingClass, route

from .models import NoteText, Place, ThreeCapitals, VisitorId, VisitorName

if TYPE_CHECKING:
    from .atlas_app import Application

#: What one euro was worth once, from where the prices wander off.
RATES = {
    "USD": "1.0842", "GBP": "0.8391", "CHF": "0.9374", "JPY": "171.25",
    "SEK": "11.3215", "CAD": "1.4810", "BRL": "5.9425", "INR": "90.512",
}  # fmt: skip
WELCOME = ("Drag me: the others see it.", 0.08, 0.12), ("Open this page in a second window.", 0.52, 0.42)
MAX_NOTES = 40
Note = dict[str, Any]


class Live(RoutingClass):
    """What pages do over WSX; each handler answers over HTTP as well, but for the two topics."""

    def __init__(self, app: "Application", seconds: float = 1.0) -> None:
        self.app = app
        self.seconds = seconds
        self.rates = {code: Decimal(rate) for code, rate in RATES.items()}
        self.first = dict(self.rates)
        self.numbers = count(1)
        self.notes: dict[int, Note] = {}
        self.ticking: asyncio.Task[None] | None = None
        for text, x, y in WELCOME:
            self._keep(text, x, y, "Atlas")

    @route(subscribe=True, presence=True)
    async def board(self, request: MsgRequest, id: VisitorId, name: VisitorName) -> list[Note]:
        """What happens on the board, to whoever says who they are: all notes first."""
        request.present_as = {"id": id, "name": name}
        return list(self.notes.values())

    @route(methods="POST")
    async def pin(self, text: NoteText, x: Place, y: Place, author: VisitorName) -> Note:
        """Pin a note; on a full board the oldest falls off."""
        if len(self.notes) >= MAX_NOTES:
            await self.unpin(next(iter(self.notes)))
        note = self._keep(text, x, y, author)
        await self._tell("pinned", note)
        return note

    @route(methods="PUT")
    async def move(self, number: int, x: Place, y: Place) -> None:
        """Move a note."""
        note = self._note(number)
        note.update(x=x, y=y)
        await self._tell("moved", note)

    @route(methods="DELETE")
    async def unpin(self, number: int) -> None:
        """Take a note away."""
        del self.notes[self._note(number)["number"]]
        await self._tell("unpinned", number)

    @route(methods="POST")
    async def point(self, id: VisitorId, x: Place, y: Place) -> None:
        """Show where a visitor points."""
        await self._tell("pointed", {"id": id, "x": x, "y": y})

    @route(subscribe="latest")
    async def prices(self) -> dict[str, Any]:
        """What one euro costs, now and whenever it changes."""
        if self.ticking is None:
            self.ticking = asyncio.create_task(self._tick())
        return self._prices()

    @route(methods="GET")
    async def convert(self, amount: Annotated[Decimal, Field(ge=0, le=10**12)], code: ThreeCapitals) -> dict[str, Any]:
        """So many euros in another currency: exactly, and at which moment."""
        if code not in self.rates:
            raise HTTPNotFound(f"There is no price of {code}.")
        rate = self.rates[code]
        return {"amount": round(amount * rate, 2), "code": code, "rate": rate, "at": datetime.now(UTC)}

    async def close(self) -> None:
        """Let the prices rest."""
        if self.ticking is not None:
            self.ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self.ticking

    def _keep(self, text: str, x: float, y: float, author: str) -> Note:
        number = next(self.numbers)
        note = {"number": number, "text": text, "x": x, "y": y, "author": author, "at": datetime.now(UTC)}
        self.notes[number] = note
        return note

    def _note(self, number: int) -> Note:
        if number not in self.notes:
            raise HTTPNotFound(f"There is no note {number}; somebody may have taken it away.")
        return self.notes[number]

    async def _tell(self, event: str, data: Any) -> int:
        return await self.app.server.publish(f"/{self.app.mount_name}/live/board", data, event)

    def _prices(self) -> dict[str, Any]:
        prices = [
            {"code": code, "rate": rate, "change": round(100 * (rate / self.first[code] - 1), 2)}
            for code, rate in self.rates.items()
        ]
        return {"at": datetime.now(UTC), "prices": prices}

    async def _tick(self) -> None:
        """Move the prices, until nobody looks any more."""
        topic = f"/{self.app.mount_name}/live/prices"
        while True:
            await asyncio.sleep(self.seconds)
            for code, rate in self.rates.items():
                step = Decimal(random.randint(-15, 15)) / 10_000
                self.rates[code] = (rate * (1 + step)).quantize(rate)
            if not await self.app.server.publish(topic, self._prices(), "prices"):
                self.ticking = None
                return

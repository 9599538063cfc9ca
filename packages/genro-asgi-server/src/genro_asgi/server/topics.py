"""Topics: routes with `subscribe=`, and what `server.publish` tells those who subscribed."""

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import HTTPBadRequest
from genro_asgi.request import MsgRequest
from genro_asgi.server.routes import Endpoint
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.subscriptions import Subscription, Topics

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["ServerTopics"]

#: Events that may wait for one subscriber of policy "block", whose publishers did not wait.
MAX_WAITING = 1000

Event = tuple[str, str, Any]


class ServerTopics:
    """The subscribers of a server, by the route that let them in.

    An event reaches those who subscribed through the route of its topic: a pattern never reaches into another route,
    which may ask for other credentials.
    """

    def __init__(self, server: "AsgiServer") -> None:
        self.server = server
        self._by_route: dict[str, Topics] = {}
        self._present: dict[str, dict[Subscription, Any]] = {}
        self._waiting: dict[Subscription, deque[tuple[Event, asyncio.Future[None]]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def subscribe(self, endpoint: Endpoint, request: MsgRequest, call: Incoming, first: Any) -> None:
        """Let a call have the events of its topic; what its handler returned comes first, as a `snapshot`."""
        topic = request.path
        if "**" in topic.split("/")[:-1]:
            raise HTTPBadRequest("In a topic ** stands for all that follows, and only at its end.", code="VALIDATION")
        if call.is_event or not call.open:
            return
        self._loop = asyncio.get_running_loop()
        who = request.present_as
        if who is None and request.auth is not None:
            who = request.auth.get("identity")
        here = self._present.setdefault(topic, {}) if endpoint.presence else None
        subscription = call.subscribe(endpoint.policy, None if here is None else _unique([*here.values(), who]))
        self._by_route.setdefault(endpoint.path, Topics()).add(topic, subscription)
        if first is not None:
            subscription.publish(topic, "snapshot", first)
        if here is not None and subscription.open:
            self._join(topic, here, subscription, who)

    def _join(self, topic: str, here: dict[Subscription, Any], subscription: Subscription, who: Any) -> None:
        if who is None or who not in here.values():
            self._tell(here, topic, "join", who)
        here[subscription] = who
        forget = subscription.on_end

        def leave() -> None:
            if forget is not None:
                forget()
            here.pop(subscription, None)
            if who is None or who not in here.values():
                self._tell(here, topic, "leave", who)
            if not here and self._present.get(topic) is here:
                del self._present[topic]

        subscription.on_end = leave

        def tell_all() -> None:
            subscription.publish(topic, "sync", _unique(list(here.values())))

        # Who has missed a join or a leave is told anew who is there.
        subscription.on_dropped = tell_all

    def _tell(self, here: dict[Subscription, Any], topic: str, event: str, who: Any) -> None:
        for other in list(here):
            self._give(other, (topic, event, who))

    def publish(self, topic: str, event: str, data: Any) -> "asyncio.Future[int]":
        """Tell the subscribers of a topic; the future holds their number once all of them have taken the event."""
        endpoint = self._route_of(topic)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._publish_from_thread(topic, event, data)
        done: asyncio.Future[int] = loop.create_future()
        self._publish(endpoint, (topic, event, data), done)
        return done

    def _publish_from_thread(self, topic: str, event: str, data: Any) -> "asyncio.Future[int]":
        """The same from a thread of a sync handler: the loop does it, in the order it was asked for."""
        loop = self._loop or self.server._loop
        if loop is None:
            raise RuntimeError("publish() needs a running server; nobody can have subscribed yet.")
        done: asyncio.Future[int] = loop.create_future()
        loop.call_soon_threadsafe(self._publish, self._route_of(topic), (topic, event, data), done)
        return done

    def _publish(self, endpoint: Endpoint, event: Event, done: "asyncio.Future[int]") -> None:
        topics = self._by_route.get(endpoint.path)
        subscribers = list(topics.subscribers(event[0])) if topics is not None else []
        waits = [waited for each in subscribers if (waited := self._give(each, event)) is not None]
        left = len(waits)

        def taken(_: Any) -> None:
            nonlocal left
            left -= 1
            if left <= 0 and not done.done():
                done.set_result(len(subscribers))

        for waited in waits:
            waited.add_done_callback(taken)
        if not waits:
            taken(None)

    def _give(self, subscription: Subscription, event: Event) -> "asyncio.Future[None] | None":
        """Hand an event over; a future when the subscriber blocks, done when it has taken it or is gone."""
        waiting = self._waiting.get(subscription)
        if waiting is None and subscription.publish(event[0], event[1], event[2]):
            return None
        if waiting is None:
            waiting = self._waiting[subscription] = deque()
            subscription.on_ready = partial(self._feed, subscription)
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append((event, taken))
        if len(waiting) > MAX_WAITING:
            subscription.end(429, "The subscriber does not keep up.")
        return taken

    def _feed(self, subscription: Subscription) -> None:
        waiting = self._waiting.get(subscription)
        while waiting:
            event, taken = waiting[0]
            if subscription.open and not subscription.publish(*event):
                return
            waiting.popleft()
            if not taken.done():
                taken.set_result(None)
        self._waiting.pop(subscription, None)
        subscription.on_ready = None

    def _route_of(self, topic: str) -> Endpoint:
        table = self.server.table
        if table.stale:
            table.refresh()
        endpoint = table.exact.get(topic)
        if endpoint is None:
            found = table.resolve(topic)
            endpoint = found[0] if found is not None else None
        if endpoint is None or not endpoint.subscribe:
            raise LookupError(f"No route with subscribe=True answers {topic!r}; declare one, or correct the topic.")
        return endpoint


def _unique(values: list[Any]) -> list[Any]:
    """The same without repeated identities; nobody in particular may be there several times."""
    return [who for place, who in enumerate(values) if who is None or who not in values[:place]]

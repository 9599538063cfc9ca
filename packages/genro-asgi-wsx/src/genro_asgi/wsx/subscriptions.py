"""Subscriptions: events for those who asked for a topic, and what becomes of those who do not keep up."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from genro_asgi.wsx.errors import WsxError

if TYPE_CHECKING:
    from genro_asgi.wsx.incoming import Incoming

__all__ = ["Policy", "Subscription", "Topics"]

#: What becomes of an event whose subscriber does not keep up: the publisher waits, the oldest one gives way, only the
#: newest one is kept, or the subscription is ended.
Policy = Literal["block", "drop_oldest", "latest", "close"]

_POLICIES = ("block", "drop_oldest", "latest", "close")


class Subscription:
    """One peer's subscription to a topic; made by Incoming.subscribe().

    Events go out as far as the peer granted credit and its connection takes them; `max_queue` more of them wait here.
    """

    __slots__ = ("_dropped", "_queue", "call", "max_queue", "on_dropped", "on_end", "on_ready", "policy")

    def __init__(self, call: "Incoming", policy: Policy, presence: Any, max_queue: int) -> None:
        if policy not in _POLICIES:
            raise ValueError(f"Subscription policy {policy!r} is unknown; use one of {', '.join(_POLICIES)}.")
        if max_queue < 1:
            raise ValueError(f"max_queue {max_queue} leaves no place for an event; use 1 or more.")
        self.call = call
        self.policy = policy
        self.max_queue = 1 if policy == "latest" else max_queue
        self._queue: deque[dict[str, Any]] = deque()
        self._dropped = 0
        #: called when `ready` has become true
        self.on_ready: Callable[[], None] | None = None
        #: called when the peer has been told that it did not get all events
        self.on_dropped: Callable[[], None] | None = None
        #: called once when the subscription is over, whoever ended it
        self.on_end: Callable[[], None] | None = None
        call.start_stream().on_ready = self._flush
        call.on_cancel = self._ended
        told = {"sub": call.id} if presence is None else {"sub": call.id, "presence": presence}
        call.session.tell(call.item(told))

    @property
    def open(self) -> bool:
        """Whether events still reach the peer."""
        return self.call.open

    @property
    def ready(self) -> bool:
        """Whether publish() has a place for one more event; only "block" ever has none."""
        return self.policy != "block" or len(self._queue) < self.max_queue

    def publish(self, topic: str, event: str, data: Any = None) -> bool:
        """Send an event, or keep it for later; False if it was not taken, and the publisher is to wait.

        TytxError for data that has no form.
        """
        if not self.call.open:
            return True
        message = {"event": event, "topic": topic, "data": data}
        if not self._queue and self.call.ready:
            self._send(message)
        elif len(self._queue) < self.max_queue:
            self._queue.append(message)
        elif self.policy == "block":
            return False
        elif self.policy == "close":
            self.end(429, "the subscriber does not keep up")
        else:
            self._queue.popleft()
            self._dropped += 1
            self._queue.append(message)
        return True

    def _send(self, message: dict[str, Any]) -> None:
        headers = None
        dropped, self._dropped = self._dropped, 0
        if dropped and self.policy == "drop_oldest":
            headers = {"wsx-dropped": str(dropped)}
        self.call.session.tell(self.call.item(message, headers))
        if headers is not None and self.on_dropped is not None:
            self.on_dropped()

    def _flush(self) -> None:
        was_ready = self.ready
        while self._queue and self.call.ready:
            self._send(self._queue.popleft())
        if not was_ready and self.ready and self.on_ready is not None:
            self.on_ready()

    def end(self, status: int = 200, text: str | None = None) -> None:
        """End the subscription; what waits is not sent any more."""
        if self.call.open:
            frame = self.call.fail(status, text) if status >= 400 else self.call.respond(status)
            self.call.session.tell(frame)
            self._over()

    def _ended(self) -> None:
        self.call.close()
        self._over()

    def _over(self) -> None:
        self._queue.clear()
        for callback in (self.on_end, self.on_ready):
            if callback is not None:
                callback()


class Topics:
    """Who subscribed to what. In a pattern `*` stands for one segment of a topic, and `**` for all that follow."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[Subscription, None]] = {}
        self._patterns: dict[tuple[str, ...], dict[Subscription, None]] = {}

    def subscribe(
        self, call: "Incoming", policy: Policy = "block", presence: Any = None, max_queue: int = 64
    ) -> Subscription:
        """Answer a SUBSCRIBE whose path is the topic; WsxError (400, 429) when it cannot be done."""
        self._place(call.path)
        subscription = call.subscribe(policy, presence, max_queue)
        self.add(call.path, subscription)
        return subscription

    def add(self, pattern: str, subscription: Subscription) -> None:
        """Let a subscription have the events of all topics that match; it is removed when it is over."""
        if not subscription.open:
            return
        self._place(pattern)[subscription] = None
        before = subscription.on_end

        def forget() -> None:
            self.remove(pattern, subscription)
            if before is not None:
                before()

        subscription.on_end = forget

    def _place(self, pattern: str) -> dict[Subscription, None]:
        segments = tuple(pattern.strip("/").split("/"))
        if "**" in segments[:-1]:
            raise WsxError("the topic has '**' before its end; it stands for all that follows", code="VALIDATION")
        if "*" in segments or "**" in segments:
            return self._patterns.setdefault(segments, {})
        return self._exact.setdefault("/".join(segments), {})

    def remove(self, pattern: str, subscription: Subscription) -> None:
        """Forget a subscription."""
        self._place(pattern).pop(subscription, None)
        self._exact = {topic: subscribers for topic, subscribers in self._exact.items() if subscribers}
        self._patterns = {segments: subscribers for segments, subscribers in self._patterns.items() if subscribers}

    def subscribers(self, topic: str) -> Iterator[Subscription]:
        """Everyone who has a pattern that matches the topic, once each."""
        segments = tuple(topic.strip("/").split("/"))
        found = dict(self._exact.get("/".join(segments), {}))
        for pattern, subscribers in self._patterns.items():
            if _matches(pattern, segments):
                found.update(subscribers)
        return iter(found)

    def publish(self, topic: str, event: str, data: Any = None) -> list[Subscription]:
        """Send an event to all who want it; returned are those of policy "block" that had no place for it."""
        return [each for each in self.subscribers(topic) if not each.publish(topic, event, data)]


def _matches(pattern: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    if pattern[-1] == "**":
        pattern = pattern[:-1]
        segments, rest = segments[: len(pattern)], segments[len(pattern) :]
        if not rest:
            return False
    return len(pattern) == len(segments) and all(
        mine in ("*", theirs) for mine, theirs in zip(pattern, segments, strict=True)
    )

"""The calls of a WSX connection: from a message to the dispatcher, and its value back as an answer."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextvars import Context, copy_context
from time import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import HTTPException, HTTPGatewayTimeout, HTTPServiceUnavailable, HTTPUnauthorized
from genro_asgi.jsoncodec import dumps, loads
from genro_asgi.middleware.errors import log_failure
from genro_asgi.middleware.redact import named, redact_path
from genro_asgi.request import MsgRequest, current_request
from genro_asgi.response import Response, StreamingResponse
from genro_asgi.server.eager import start_task, task_of
from genro_asgi.server.handshake import authenticate, credentials_scope
from genro_asgi.server.wsx_reply import collected, reply_of
from genro_asgi.server.wsx_streams import credit_for, stream_answer
from genro_asgi.websocket import WebSocket
from genro_asgi.wsx.errors import TytxError, WsxError
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.kinds import TEXT, UNPREFIXED
from genro_asgi.wsx.session import Frame, Session

if TYPE_CHECKING:
    from genro_asgi.server.ws_protocol import GenroWebSocketProtocol
    from genro_asgi.server.wsx_handler import WsxHandler

__all__ = ["WsxCalls"]

logger = logging.getLogger("genro_asgi")

set_current, reset_current = current_request.set, current_request.reset

# Values that go into an answer as they are.
_NATIVE = frozenset((dict, list, str, int, float, bool, type(None)))

#: What the reason of a cancellation tells the client.
_CANCELLED: dict[str, Callable[[], HTTPException]] = {
    "deadline": HTTPGatewayTimeout,
    "shutdown": lambda: HTTPServiceUnavailable("The server is shutting down.", code="DRAINING"),
}


class WsxCalls:
    """Runs each call in a task of its own, with a context of its own."""

    __slots__ = (
        "auth", "auth_tags", "handler", "id", "loop", "protocol", "scope", "session", "starting", "tasks", "wakes_at",
        "websocket",
    )  # fmt: skip

    def __init__(
        self,
        handler: "WsxHandler",
        websocket: WebSocket,
        protocol: "GenroWebSocketProtocol | None",
        session: Session,
        auth: dict[str, Any] | None,
        id: str,
    ) -> None:
        self.handler, self.websocket, self.session, self.id = handler, websocket, session, id
        self.scope = websocket.scope
        self.loop = asyncio.get_running_loop()
        #: The protocol under our own run(), which takes and gives bytes without ASGI in between.
        self.protocol = protocol
        #: How many calls are being answered; what waits for events is none of them.
        self.tasks = 0
        self.starting = False
        #: When the clock of the session is looked at next.
        self.wakes_at = math.inf
        self.know(auth)

    def know(self, auth: dict[str, Any] | None) -> None:
        """Note who calls."""
        self.auth = auth
        self.auth_tags: list[str] = [] if auth is None else list(auth.get("tags") or ())
        until = None if auth is None else auth.get("exp")
        if until is not None:
            self.session.expire(self.loop.time() + until - time())
        elif self.session.expires < math.inf:
            self.session.expire(math.inf)

    def write(self, frame: Frame) -> None:
        """Send a frame."""
        raise NotImplementedError

    def ended(self) -> None:
        """Hear that the last call has ended."""
        raise NotImplementedError

    def start(self, call: Incoming) -> None:
        """Begin to answer a call."""
        if call.control is not None:
            self._spawn(call, self._take_credentials(call) if call.control != "schema" else self._tell_routes(call))
            return
        handler = self.handler
        request = handler.new_request(handler.request_class)
        request._parsed = call
        request.scope = self.scope
        request.websocket = self.websocket
        request.created_at = time()
        request.endpoint = request.task = request._response = None
        request.extra = False
        request.phase = "new"
        form = call.form
        request._tytx = None if form is TEXT or form is UNPREFIXED or not form.typed else form.transport
        if self.auth is not None:
            request.auth = request.connection_auth = self.auth
            request._auth_tags = self.auth_tags
        fields = call.fields
        endpoint = handler.table.exact.get(fields.get("path", "/")) if handler.plain else None
        if endpoint is None or not endpoint.direct or fields["method"] not in endpoint.methods:
            work = self._answer(request, call, self._enter(request))
        else:
            # The commonest call of all: nothing stands between it and its coroutine.
            request.endpoint = endpoint
            try:
                handling = endpoint.calls[0](request, ())
            except Exception as error:
                work = self._answer(request, call, _raise(error))
            else:
                if endpoint.instant:
                    self._answer_now(request, call, handling)
                    return
                work = self._answer_direct(request, call, handling)
        token = set_current(request)
        context = copy_context()
        reset_current(token)
        self._start_task(request, call, work, context)

    def _start_task(self, request: MsgRequest, call: Incoming, work: Any, context: Context) -> None:
        call.on_cancel = request.stop  # type: ignore[attr-defined]
        self.handler.live[request] = request
        self.tasks += 1
        # Answers that wait for nothing are made at once: what they need is still at hand then.
        task = start_task(self.loop, work, context)
        if request.phase == "new":
            request.task = task

    def _answer_now(self, request: MsgRequest, call: Incoming, handling: Any) -> None:
        """Answer a call whose handler cannot wait: a task of its own would cost a fifth of all that is done for it."""
        live, note = self.handler.live, self.handler.note
        live[request] = request
        self.tasks += 1  # should the handler stop the server: not before its own answer
        token = set_current(request)
        context = copy_context()
        reset_current(token)
        frame = rest = None
        try:
            try:
                value = context.run(handling.send, None)
            except StopIteration as end:
                value = end.value
            if value.__class__ in _NATIVE and request._response is None and not request.extra:
                frame = call.respond(200, value)
                if note is not None:
                    note(request, 200)
            else:
                rest = _give(value)
        except BaseException as error:
            rest = _raise(error)
        self.tasks -= 1
        if rest is not None:
            self._start_task(request, call, self._answer(request, call, rest), context)
            return
        live.pop(request, None)
        if frame is not None:
            self.write(frame)
        if self.session.draining and not self.tasks:
            self.ended()

    def start_waiting(self) -> None:
        """Begin those calls that waited for a place, as far as there is one now."""
        if self.starting:
            return  # what is begun here may have ended at once, and asks for the next one itself: one loop is enough
        self.starting = True
        session = self.session
        try:
            while session.backlog and (call := session.next_call(self.loop.time())) is not None:
                self.start(call)
        finally:
            self.starting = False

    async def _enter(self, request: MsgRequest) -> Any:
        """The value of a call that is more than a path: hooks first, then the whole way through the dispatcher."""
        dispatcher = self.handler.dispatcher
        if self.handler.own_init:
            await request.init(self.scope, message=request.message, websocket=self.websocket)
        answer = await dispatcher.run_before(request)
        if answer is not None:
            return answer
        value = dispatcher.enter(request, request.path, request.method, dispatcher.always_slow)
        return await value if value.__class__ is CoroutineType else value

    async def _answer_direct(self, request: MsgRequest, call: Incoming, work: Any) -> None:
        """As `_answer`, for a coroutine that nothing stands around: only what is out of the ordinary goes there."""
        if request.cancelled is not None:
            await self._answer(request, call, work)
            return
        request.task = task_of(self.loop)
        request.phase = "handler"
        frame = None
        try:
            value = await work
            quick = value.__class__ in _NATIVE and request._response is None and not request.extra
            if quick:
                frame = call.respond(200, value)
                if self.handler.note is not None:
                    self.handler.note(request, 200)
        except BaseException as error:
            await self._answer(request, call, _raise(error))
            return
        if not quick:
            await self._answer(request, call, _give(value))
            return
        if frame is not None:
            self.write(frame)
        # Both lead back to the request, by way of the call and of the task's context: nothing is left to a collector.
        call.on_cancel = request.task = None
        self.handler.live.pop(request, None)
        session, protocol = self.session, self.protocol
        if session.backlog or session.draining:
            self._over(call)
            return
        self.tasks -= 1
        if protocol is not None and not (self.tasks or protocol.reading):
            protocol.flush()

    async def _answer(self, request: MsgRequest, call: Incoming, work: Any) -> None:
        error: BaseException | None = None
        if request.phase == "new":
            request.task = task_of(self.loop)
            request.phase = "handler"
            if request.cancelled is not None:  # before it had begun
                work.close()
                work = _raise(asyncio.CancelledError())
        try:
            try:
                await self._reply(request, call, await work)
            except Exception as exc:
                error = exc
                await self._failed(request, call, exc)
        except asyncio.CancelledError as exc:
            error = exc
            await self._cancelled(request, call, exc)
        except SystemExit as exc:
            # Let through, it would break the connection off, with all other calls, and some servers would stop.
            error = RuntimeError(f"the handler ended with {exc!r}")
            await self._failed(request, call, error)
        finally:
            if request.phase != "subscribed":
                call.on_cancel = None
            request.task = None
            self.handler.live.pop(request, None)
            if request.extra:
                await self._finish(request, error)
            self._over(call)
            error = None  # its traceback knows this frame, and with it the message

    def _over(self, call: Incoming) -> None:
        # Of the calls that were ended from outside nobody else gives back what they hold; a subscription goes on.
        if call.holds_slot or not call.open:
            call.close()
        self.tasks -= 1
        session = self.session
        if session.backlog:
            self.start_waiting()
        if session.due < self.wakes_at:
            self.arm()
        if not self.tasks:
            self.ended()

    def arm(self) -> None:
        """Set the alarm for what the session wants to do next."""
        raise NotImplementedError

    def _say(self, frame: Frame | None) -> None:
        if frame is not None:
            self.write(frame)

    async def _reply(self, request: MsgRequest, call: Incoming, value: Any) -> None:
        handler = self.handler
        endpoint = request.endpoint
        if endpoint is not None and endpoint.subscribe and request.method == "SUBSCRIBE":
            request.phase = "subscribed"  # from here on the subscription hears of its end
            handler.topics.subscribe(endpoint, request, call, value)
            return
        untouched = request._response is None and (endpoint is None or endpoint.media_type is None)
        if value.__class__ in _NATIVE and untouched and handler.plain_after:
            self._say(call.respond(200, value))
            if handler.note is not None:
                handler.note(request, 200)
            return
        if call.fields.get("credit") == 0:
            await credit_for(call, value)
        response = await handler.dispatcher.settle(request, value)
        request.phase = "sending"
        if isinstance(response, StreamingResponse):
            await stream_answer(self, request, call, response)
        else:
            await self._respond(call, response)
        handler.server._spawn_background(request, response)

    async def _respond(self, call: Incoming, response: Response) -> None:
        if response.is_streamed or response.is_foreign:
            response = await collected(response, self.session.limits.ws_message, self.handler.server.files.run)
        reply = reply_of(response)
        try:
            frame = call.respond(*reply)
        except TytxError:
            # Something the form of this message has nothing for: what JSON makes of it is better than no answer.
            frame = call.respond(reply.status, loads(dumps(reply.data)), reply.headers, reply.cookies)
        self._say(frame)

    async def _failed(self, request: MsgRequest, call: Incoming, exc: Exception) -> None:
        if not call.open:
            log_failure(request, exc)  # nobody hears of it any more
        elif isinstance(exc, WsxError) and exc.status < 500:
            self._say(call.refuse(exc))
        else:
            response = await self.handler.dispatcher.failed(request, exc)
            if call.is_event:
                told = (request.method, redact_path(request.path), response.status_code, named(request.given_id))
                logger.warning("Event %s %s failed with %s%s", *told)
            try:
                await self._respond(call, response)
            except Exception as worse:
                log_failure(request, worse)
                self._say(call.fail(500))

    async def _cancelled(self, request: MsgRequest, call: Incoming, exc: asyncio.CancelledError) -> None:
        task = request.task
        if not call.open:  # from outside, and the client has been told
            if task is not None:
                task.uncancel()
        elif request.cancelled is not None:
            if task is not None:
                task.uncancel()
            answer = _CANCELLED.get(request.cancelled, HTTPServiceUnavailable)()
            await self._respond(call, await self.handler.dispatcher.failed(request, answer))
        elif task is not None and task.cancelling():
            call.close()
            raise exc  # somebody else's will: the loop is being closed
        else:
            # The handler awaited something that was cancelled: that is its bug, and no reason to be silent.
            await self._failed(request, call, RuntimeError("the handler ended with CancelledError"))

    async def _finish(self, request: MsgRequest, error: BaseException | None) -> None:
        if request.timer is not None:
            request.timer.cancel()
        if request._cleanups or request._onerrs:
            await self.handler.dispatcher.clean_up(request, error)

    # -- credentials that come in a message

    def _spawn(self, call: Incoming, work: Any) -> None:
        task = self.handler.server.spawn(work)
        self.tasks += 1
        task.add_done_callback(lambda _: self._over(call))

    async def _take_credentials(self, call: Incoming) -> None:
        """Answer a hello or auth: credentials in it are from now on those of the connection."""
        auth = call.data.get("auth") if call.control == "hello" else call.data
        info = self.auth
        if auth is not None:
            server = self.handler.server
            try:
                scope = credentials_scope(self.scope, auth)
                info = None if self.handler.left_to_applications() else await authenticate(server, server, scope)
            except HTTPUnauthorized as error:
                self._say(call.fail(401, str(error.detail), code="UNAUTHENTICATED"))
                return
            except Exception:
                logger.exception("The credentials of a WSX client could not be looked at")
                self._say(call.fail(500))
                return
            self.scope = scope
            self.know(info)
            self.handler.registry.identify(self.id, info)
        self.welcome(call, None if info is None else info.get("identity"))

    def welcome(self, call: Incoming, identity: Any) -> None:
        """Answer a hello or auth whose credentials are good."""
        raise NotImplementedError

    async def _tell_routes(self, call: Incoming) -> None:
        """Answer with the document of the server's routes, unless the client has it already."""
        server = self.handler.server
        if server.default_deny and self.auth is None:
            self._say(call.fail(401))
            return
        try:
            document, etag = await self.handler.document.get()
        except Exception:
            logger.exception("The routes of the server could not be described")
            self._say(call.fail(500))
            return
        known = [one.strip().removeprefix("W/") for one in (call.headers or {}).get("if-none-match", "").split(",")]
        if etag in known or "*" in known:
            self._say(call.respond(304, None, {"etag": etag}))
        else:
            self._say(call.respond(200, document, {"etag": etag}))


async def _raise(error: BaseException) -> Any:
    try:
        raise error
    finally:
        del error  # its traceback knows this frame


async def _give(value: Any) -> Any:
    return value

"""Has every HTTP request observed, and tells the client the id it goes by."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry.record import Observation
from service.telemetry.instrumentation import Observer

HEADER = "X-Request-ID"

_SENT = {b"x-request-id", b"traceparent", b"tracestate"}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class ObservationMiddleware:
    """Put the observation where handlers find it, `request.state.observation`."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app = app
        self.observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _SENT}
        with self.observer.observe(sent) as seen:
            _describe(seen, scope)
            scope.setdefault("state", {})["observation"] = seen
            headers = [(b"x-request-id", seen.request_id.encode())]
            if seen.traceresponse:
                headers.append((b"traceresponse", seen.traceresponse.encode()))

            async def send_with_id(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.status = message["status"]
                    message["headers"] = [*message["headers"], *headers]
                await send(message)

            try:
                await self.app(scope, receive, send_with_id)
            finally:
                # Whether or not the method was right, the router says which route it found.
                seen.route = getattr(scope.get("route"), "path_format", "other")


def _describe(seen: Observation, scope: Scope) -> None:
    method = scope["method"]
    seen.method = method if method in _METHODS else "other"
    # As sent, percent-encoded: what else is in it could break a line of the log.
    target = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
    query = scope["query_string"].decode("ascii", "backslashreplace")
    seen.target = f"{target}?{query}" if query else target
    if scope.get("client"):
        host, port = scope["client"]
        seen.client = f"{host}:{port}"

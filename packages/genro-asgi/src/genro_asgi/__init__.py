"""An ASGI framework: one handler answers over HTTP, WebSocket RPC and NATS."""
import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)

# Plain answers, without the client: each public method shows one thing of the server below the site.
import hashlib
import json
import threading
import time

from gnr.core.gnrdecorator import public_method
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

CLOSED = []


class GnrCustomWebPage:
    skip_connection = True

    def rootPage(self, *args, **kwargs):
        return f"<!DOCTYPE html><html><head><title>probe</title></head><body>probe {args}</body></html>"

    def _json(self, value):
        self.response.content_type = "application/json"
        return json.dumps(value, sort_keys=True, default=repr)

    @public_method
    def echo(self, *args, **kwargs):
        return self._json({"method": self.request.method, "args": args, "kwargs": kwargs})

    @public_method
    def environ(self, *args, **kwargs):
        environ = self.request._request.environ
        own = {"SERVER_PORT", "REMOTE_PORT", "HTTP_HOST", "SERVER_SOFTWARE"}
        kept = {
            k: v
            for k, v in environ.items()
            if k.startswith(("HTTP_", "PATH", "QUERY", "REQUEST_M", "SCRIPT", "CONTENT"))
        }
        kept |= {k: environ[k] for k in ("REMOTE_ADDR", "SERVER_PROTOCOL", "wsgi.url_scheme", "wsgi.multiprocess")}
        return self._json({k: v for k, v in kept.items() if k not in own})

    @public_method
    def upload(self, file_handle=None, **kwargs):
        data = file_handle.stream.read()
        digest = hashlib.sha256(data).hexdigest()
        return self._json({"name": file_handle.filename, "size": len(data), "digest": digest, "kwargs": kwargs})

    @public_method
    def raw(self, **kwargs):
        data = self.request._request.get_data()
        return self._json({"size": len(data), "digest": hashlib.sha256(data).hexdigest()})

    @public_method
    def options(self, **kwargs):
        register = type(self.site.register).__name__
        return self._json({"remote_edit": self.site.remote_edit, "register": register})

    @public_method
    def drain(self, **kwargs):
        size = 0
        while block := self.request._request.stream.read(65536):
            size += len(block)
        return self._json(size)

    @public_method
    def pour(self, blocks=1, **kwargs):
        block = bytes(range(256)) * 256
        return Response((block for _ in range(int(blocks))), mimetype="application/octet-stream")

    @public_method
    def isolated(self, token=None, **kwargs):
        thread = threading.get_ident()
        time.sleep(0.05)
        seen = self.site.currentRequest.args.get("token")
        own = self.site.currentPage is self and thread == threading.get_ident()
        return self._json({"token": token, "seen": seen, "own": own})

    @public_method
    def stream(self, n=5, **kwargs):
        def chunks():
            try:
                for i in range(int(n)):
                    yield f"chunk {i}\n".encode() * 100
            finally:
                CLOSED.append(n)

        return Response(chunks(), mimetype="text/plain")

    @public_method
    def closed(self, **kwargs):
        return self._json(len(CLOSED))

    @public_method
    def cookies(self, **kwargs):
        response = Response("ok", mimetype="text/plain")
        response.set_cookie("one", "1")
        response.set_cookie("two", "2", httponly=True)
        response.headers.add("X-Multi", "one")
        response.headers.add("X-Multi", "two")
        response.headers["X-Seen"] = ",".join(sorted(self.request._request.cookies))
        return response

    @public_method
    def go(self, **kwargs):
        return redirect("/testpkg/probe", code=302)

    @public_method
    def fail(self, **kwargs):
        raise ValueError("probe-failure")

    @public_method
    def note(self, title=None, **kwargs):
        table = self.site.db.table("testpkg.note")
        table.insert(table.newrecord(title=title))
        self.site.db.commit()
        return self._json([row["title"] for row in table.query(columns="$title", where="$title=:t", t=title).fetch()])

"""gevent worker that serves plain requests without gunicorn's parser and with one send for a complete response."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gevent
from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventWorker

from project.server import environ, plain_requests
from project.server.plain_requests import PlainRequest
from project.server.responses import JoinedResponse, Started, complete


class PlainWorker(GeventWorker):
    """gunicorn's worker, for connections that have deadlines of their own."""

    alive: bool

    def init_process(self) -> None:
        # gunicorn's own code has the details of TLS, of other protocols and of its access log.
        plain_requests.install(
            is_plain_allowed=not self.cfg.is_ssl
            and self.cfg.proxy_protocol == "off"
            and not self.log.access_log_enabled
            and type(self.log).access is Logger.access  # no metrics of each request
            and not environ.is_mounted(self.cfg)
        )
        self._environ = environ.constant_part(self.cfg)
        super().init_process()

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Return a context without a timeout: the connections have their own, without a timer for each request."""
        return nullcontext()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        if isinstance(req, PlainRequest):
            return self._handle_plain(listener_name, req, sock, addr)
        return super().handle_request(listener_name, req, sock, addr)

    def _handle_plain(self, listener_name: Any, req: PlainRequest, sock: Any, addr: Any) -> None:
        """Handle a request as gunicorn does. Raise StopIteration if the connection ends."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        if not self.alive or not self.cfg.keepalive:
            req.force_close()
        response = JoinedResponse(req, sock, self.cfg)
        try:
            self._respond(req, response, self._environ | environ.of(req, sock, listener_name, addr))
        except (StopIteration, OSError):
            raise
        except gevent.GreenletExit:
            return
        except (Exception, SystemExit) as error:
            if response.headers_sent:  # an error response would corrupt what was sent
                self.log.exception("Error handling request")
                sock.disconnect()
                raise StopIteration from None
            if not isinstance(error, SystemExit):
                raise
            return
        if response.should_close():
            raise StopIteration

    def _respond(self, req: PlainRequest, response: JoinedResponse, wsgi_environ: dict[str, Any]) -> None:
        started = Started()
        body = self.wsgi(wsgi_environ, started)
        if type(body) is list and req.method != "HEAD":
            whole = complete(started, b"".join(body), closes=req.should_close())
            if whole is not None:
                response.send_whole(whole)
                return
        try:
            response.start_response(started.status, started.headers)
            response.write_all(body)
        finally:
            if hasattr(body, "close"):
                body.close()

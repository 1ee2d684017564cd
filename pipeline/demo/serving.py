"""The server of the demo: what Gradio is told, and what stands before it."""

import base64
import importlib.util
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Report
from pipeline.demo import batch, evaluations
from pipeline.demo.guard import REPORT, Guard, Rules
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.demo.shelf import Shelf

log = logging.getLogger("app")

_QUEUE = 16
_SESSIONS = 200
_AT_ONCE = 4
# Who has the link of --share comes by such a name.
_TUNNEL = ".gradio.live"


@dataclass(frozen=True)
class Place:
    """Where and to whom the demo is served. ``password`` is ``user:password`` or None."""

    host: str
    port: int
    hosts: Sequence[str] = ()
    password: str | None = None
    share: bool = False
    mcp: bool = False

    @property
    def address(self) -> str:
        """Where a program on this machine finds it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound to
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0, once it is known that it can be listened on.

    Raises:
        PipelineError: it cannot.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            return int(trial.getsockname()[1])
    except OSError as error:
        raise PipelineError(
            f"--host {host}, --port {port}: cannot listen there; {error.strerror or error}; choose another --port, or 0"
        ) from error


def password_of(given: str | None) -> str | None:
    """``user:password``, from the first line of a file, or with ``env:NAME`` from a variable of the environment.

    Raises:
        PipelineError: it is not there, or has another form. The message does not quote it.
    """
    if given is None:
        return None
    expected = "expected user:password, with a password of 8 characters or more"
    if given.startswith("env:"):
        text = os.environ.get(given[4:], "")
    else:
        try:
            text = Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise PipelineError(
                f"--auth {given}: {expected} in a file, or env:NAME for a variable; this file cannot be read"
            ) from error
    lines = text.strip().splitlines()
    user, _, password = (lines[0] if len(lines) == 1 else "").partition(":")
    if not user or len(password) < 8:
        raise PipelineError(f"--auth {given}: {expected}, alone on a line; got something else")
    return lines[0]


def check_mcp() -> None:
    """Raises a PipelineError where the package for ``--mcp`` is missing."""
    if importlib.util.find_spec("mcp") is None:
        raise PipelineError('--mcp: expected the package mcp; install it with pip install "mcp>=1.21,<2"')


def serve(shelf: "Shelf", reports: Mapping[str, Report], place: Place) -> None:
    """Serves the page until a signal comes.

    Raises:
        PipelineError: the first run cannot be loaded, the port was taken meanwhile, or there is no tunnel.
    """
    # Predicting tells of each file its name and the name of a column, which may be the first tweet.
    logging.getLogger("pipeline.predict").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="sentiment-tuner-") as store:
        _prepare(store, place.host)
        import gradio as gr
        from starlette.middleware import Middleware

        from pipeline.demo.page import CSS, build

        # What is wrong with the first run is said before there is a page. Behind the imports, because TF-IDF is fitted
        # from here on, and would slow them.
        with shelf.open():
            pass
        rules = Rules(
            hosts=[host.lower() for host in (*place.hosts, place.host, *([_TUNNEL] if place.share else []))],
            password=place.password, uploads=batch.MAX_BYTES, store=Path(store), mcp=place.mcp,
        )  # fmt: skip
        page = build(shelf, reports, place.address, mcp=place.mcp)
        # api_open would let requests pass by the queue.
        page.queue(max_size=_QUEUE, default_concurrency_limit=_AT_ONCE, api_open=False)
        try:
            page.launch(
                server_name=place.host,
                server_port=place.port,
                share=place.share,
                prevent_thread_lock=True,
                quiet=True,
                theme=_theme(gr),
                css_paths=CSS,
                footer_links=[],
                max_file_size=batch.MAX_BYTES,
                show_error=False,
                run_history=False,  # tweets stay on the page they were typed on
                enable_monitoring=False,
                mcp_server=place.mcp,
                ssr_mode=False,
                pwa=False,
                allowed_paths=[],
                blocked_paths=[],
                strict_cors=True,
                state_session_capacity=_SESSIONS,
                app_kwargs={
                    "docs_url": None,
                    "redoc_url": None,
                    "openapi_url": None,
                    "middleware": [Middleware(Guard, rules=rules)],
                    "routes": [_report_route(shelf.names, reports)],
                },
            )
        except OSError as error:
            raise PipelineError(
                f"--host {place.host}, --port {place.port}: cannot listen there; {error}; choose another --port, or 0"
            ) from error
        try:
            if place.mcp and place.password is not None:
                _give_password(page, place)
            _tell(place, page.share_url)
            threading.Event().wait()
        except KeyboardInterrupt:
            log.info("stopped")
        finally:
            shelf.close()
            page.close(verbose=False)


def _prepare(store: str, host: str) -> None:
    """The environment in which Gradio is loaded: it listens to many variables, which could open what is closed here."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        log.info("%s: not heeded by this demo", name)
        del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = store
    for name in ("NO_PROXY", "no_proxy"):  # Gradio asks itself whether it is up
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", host]))


def _give_password(page: Any, place: Place) -> None:
    """Gradio's tools ask the demo itself over HTTP; the client that they would make for it knows no password."""
    from gradio_client import Client

    known = "Basic " + base64.b64encode(str(place.password).encode()).decode()
    page.mcp_server_obj._client_instance = Client(
        place.address,
        headers={"x-gradio-user": "mcp", "authorization": known},
        download_files=False,
        verbose=False,
        analytics_enabled=False,
        _skip_components=False,
    )


def _tell(place: Place, share_url: str | None) -> None:
    if place.share and share_url is None:
        raise PipelineError("--share: there is no tunnel; it needs the internet, and a program that Gradio fetches")
    if place.host not in ("127.0.0.1", "localhost", "::1") and place.password is None:
        log.warning("%s: whoever reaches this machine can use the demo; --auth gives it a password", place.host)
    log.info("the demo is at %s%s; stop it with Ctrl-C", place.address, f" and {share_url}" if share_url else "")


def _report_route(names: Sequence[str], reports: Mapping[str, Report]) -> Any:
    """Where the reports' pages are, by the number of their run; the guard gives them their headers."""
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def page(request: Any) -> Response:
        number = int(request.path_params["number"])
        report = reports.get(names[number]) if number < len(names) else None
        if report is None:
            return PlainTextResponse("there is no report on this run\n", 404)
        try:
            return HTMLResponse(evaluations.page_of(report))
        except PipelineError as error:
            log.warning("%s", error)
            return PlainTextResponse("the report has changed since it was written\n", 404)

    return Route(f"{REPORT}{{number:int}}", page, methods=["GET"])


def _theme(gr: Any) -> Any:
    """System fonts, so that nothing is fetched, and few colours."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Base(
        primary_hue="blue",
        secondary_hue="blue",
        neutral_hue="slate",
        radius_size="sm",
        font=fonts,
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )

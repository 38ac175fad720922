"""The Flask application: wiring only, top to bottom."""

from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from wsgiref.headers import Headers

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from whitenoise import WhiteNoise

from aggregator.accounts import views as accounts
from aggregator.alarms import views as alarms
from aggregator.config import DataFolder
from aggregator.db.migrate import open_databases
from aggregator.history import views as history
from aggregator.live.link import BrokerAddress
from aggregator.live.service import Live
from aggregator.pki.folder import PkiFolder
from aggregator.scope import Forbidden
from aggregator.web import api, gate, gateway, instant, language, overview, pages, socket
from aggregator.web.problem import Problem, problem
from aggregator.web.settings import Served, WebSettings


def create(settings: WebSettings, live: Live | None = None) -> Flask:
    """The application; whoever runs it starts and stops `served(app).live`.

    Args:
        settings: where data lies and where to listen.
        live: the present, if the caller has one; otherwise one that listens to the broker as `_web`,
            whose identity is to be there.

    Raises:
        NewerData: a database was written by a newer program.
    """
    databases = open_databases(DataFolder(settings.data))
    if live is None:
        identity = PkiFolder(DataFolder(settings.data).pki).folder / "central" / "_web"
        live = Live(databases, BrokerAddress(settings.broker_host, settings.broker_port, identity))
    static = Path(str(files("aggregator.web") / "static"))

    app = Flask("aggregator.web", static_folder=None)
    app.extensions["feldwarte"] = Served(settings, databases, live)
    gate.install(app, settings, databases)
    app.register_blueprint(accounts.doors)
    app.register_blueprint(pages.pages)
    app.register_blueprint(api.api)
    app.register_blueprint(gateway.gateway)
    app.register_blueprint(overview.overview)
    app.register_blueprint(history.past)
    app.register_blueprint(alarms.alarms)
    socket.install(app, settings)

    app.register_error_handler(Problem, _refuse)
    app.register_error_handler(Forbidden, lambda error: problem(403, str(error)))
    app.register_error_handler(HTTPException, _http)
    app.jinja_env.globals.update(
        t=language.word,
        language=language.language,
        guest=gate.guest,
        moment=instant.moment,
        # A new program must not meet a browser's copy of the old one's files.
        version=_digest(static),
        **pages.template_words(),
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    # Files without secrets, for everybody; a type check knows no assignment to a method.
    app.wsgi_app = WhiteNoise(  # type: ignore[method-assign]  # the way Flask documents it
        app.wsgi_app,
        root=str(static),
        prefix="static/",
        max_age=3600,
        immutable_file_test=lambda _path, url: url.startswith("/static/dist/assets/"),
        autorefresh=False,
        allow_all_origins=False,
        add_headers_function=_static_headers,
    )
    if settings.is_behind_proxy:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]
    return app


def served(app: Flask) -> Served:
    """What an application works with."""
    found: Served = app.extensions["feldwarte"]
    return found


def _refuse(error: Problem) -> Response:
    return problem(error.status, error.text, parameter=error.parameter, value=error.value)


def _http(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:
        return error
    return problem(error.code, error.description or error.name)


def _static_headers(headers: Headers, _path: str, _url: str) -> None:
    for name, value in gate.HEADERS.items():
        headers[name] = value


def _digest(folder: Path) -> str:
    files_ = (path for path in sorted(folder.iterdir()) if path.is_file())
    return sha256(b"".join(path.read_bytes() for path in files_)).hexdigest()[:12]

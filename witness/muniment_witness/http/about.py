"""What a witness tells of itself: `witness.v0.json` for programs, `/about` for log operators."""

from collections.abc import Sequence
from html import escape
from typing import Any

import msgspec

from muniment import __version__
from muniment.tlog.note import Signer
from muniment_service.http import Request, Response
from muniment_service.routing import App
from muniment_witness.gossip.watch import Watch
from muniment_witness.witnessfile import About

_PAGE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}


def add_about(app: App, watch: Watch) -> None:
    """Adds the two routes."""

    async def as_json(_: Request) -> Response:
        return Response(200, msgspec.json.format(msgspec.json.encode(about(watch))))

    async def as_page(_: Request) -> Response:
        return Response(200, page(watch), "text/html; charset=utf-8", _PAGE)

    app.route("GET", "/witness.v0.json", as_json)
    app.route("GET", "/about", as_page)


def members(name: str, signers: Sequence[Signer], told: About, path: str = "") -> dict[str, Any]:
    """The members of `witness.v0.json` and `mirror.v0.json`, as others have them.

    A mirror's copies are below the path, from the monitoring prefix.
    """
    said: dict[str, Any] = {
        "name": name,
        "verifier_keys": [str(signer.vkey) for signer in signers],
        "software": {"name": "muniment", "version": __version__},
    }
    if told.submission_url is not None:
        monitoring = told.monitoring_url or told.submission_url
        said["submission_url"] = told.submission_url
        said["monitoring_url"] = f"{monitoring.rstrip('/')}{path}/" if path else monitoring
    return said


def about(watch: Watch) -> dict[str, Any]:
    """The members of `witness.v0.json`."""
    file = watch.shared.config.file
    said = members(file.name, watch.shared.config.signers, file.about)
    if file.list:
        said["log_lists"] = [entry.url for entry in file.list]
    return said


def page(watch: Watch) -> bytes:
    """The same for people, with the lists and how often each is pulled."""
    file = watch.shared.config.file
    told = file.about
    rows = [
        ("name", file.name),
        *(("key", str(signer.vkey)) for signer in watch.shared.config.signers),
        (
            "add-checkpoint",
            told.submission_url and f"{told.submission_url.rstrip('/')}/add-checkpoint",
        ),
        ("monitoring", told.monitoring_url or told.submission_url),
        *(
            ("list of logs", f"{entry.url}, read every {entry.period_seconds:g} seconds or sooner")
            for entry in file.list
        ),
        ("logs known", str(len(watch.shared.config.logs))),
        ("operator", told.operator),
        ("contact", told.contact),
        ("software", f"muniment {__version__}"),
    ]
    table = "".join(
        f"<tr><th>{escape(what)}<td><code>{escape(said)}</code>" for what, said in rows if said
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(file.name)}</title>'
        f"<h1>{escape(file.name)}</h1><p>A witness of transparency logs. It cosigns what only "
        "appends, and answers 429 to a log that asks more often than its entry in a list allows."
        f"</p><p>{escape(told.text)}</p><table>{table}</table></html>\n"
    ).encode("utf-8", "backslashreplace")

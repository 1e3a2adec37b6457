"""``moola dash``: runs and sweeps in a browser, as they are and as they go on."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence

from moola.commands.layout import add_artifacts, artifacts_of
from moola.errors import EXIT_OK

DEFAULT_PORT = 8741
_EPILOG = """\
The address that is printed holds a secret token: whoever has it sees every run. The pages follow runs while they train,
load nothing from elsewhere, and change nothing. Ctrl-C ends the server.
"""


def main(words: Sequence[str]) -> int:
    """Serve until Ctrl-C."""
    arguments = _parser().parse_args(words)
    from moola.config import reject

    port: int | None = arguments.port
    reject((port is not None and not 0 <= port < 65536, f"--port: {port} must lie between 0 and 65535"))
    from moola.dashboard.app import create_app
    from moola.dashboard.live_pages import Viewers
    from moola.web.serving import EVERY_ADDRESS, LOOPBACK, PageServer, open_server

    artifacts = artifacts_of(arguments)
    viewers = Viewers()
    app = create_app(artifacts, viewers)
    server = open_server(
        lambda number: PageServer(app, "dash", arguments.host, number, ending=viewers.end),
        port,
        DEFAULT_PORT,
        lambda free: print(f"note: port {DEFAULT_PORT} is taken, so this is {free}", file=sys.stderr),
    )
    if arguments.host not in LOOPBACK:
        place = "every machine that reaches this one" if arguments.host in EVERY_ADDRESS else arguments.host
        words_ = f"the server can be reached from {place}, unencrypted: whoever sees the address below sees every run"
        print(f"beware: {words_}", file=sys.stderr, flush=True)
    print(f"runs of {artifacts / 'results'}\nopen {server.url}", flush=True)
    if not arguments.no_open and sys.stdout.isatty():
        webbrowser.open(server.url)
    server.serve()
    print()
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola dash",
        description="Look at runs and sweeps in a browser, live.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=int, help=f"default: {DEFAULT_PORT}, or a free one")
    parser.add_argument("--no-open", action="store_true", help="print the address and open no browser")
    add_artifacts(parser)
    return parser

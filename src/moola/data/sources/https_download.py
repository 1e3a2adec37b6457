"""The one place that talks to the network for data: bytes of an https address, or a plain reason why not."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any

from moola.data.sources.text_files import GZIP

_BLOCK_BYTES = 1 << 16
_LOCAL = ("localhost", "127.0.0.1", "::1")
_AGENT = "moola (python-urllib)"


class DownloadFailed(Exception):  # noqa: N818 - what happened, in words for a person; no error class of its own
    """The bytes did not come; the message says why."""


def download(url: str, size_bytes: int, timeout_s: float) -> Iterator[bytes]:
    """The bytes at an address, block by block; gzip is unpacked.

    Args:
        url: https; http is allowed to this machine only.
        size_bytes: expected, unpacked. A server that announces more, or sends more, is not listened to.
        timeout_s: longest silence of the server.

    Raises:
        DownloadFailed: the address is not https, the server cannot be reached, answers an error, redirects to
            something that is not https, stalls, sends too much, or breaks off inside a gzip stream.
    """
    _refuse_unsafe(url)
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"})  # noqa: S310
    opener = urllib.request.build_opener(_SafeRedirects)
    with _explained(timeout_s), opener.open(request, timeout=timeout_s) as answer:
        announced = answer.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > size_bytes:
            raise DownloadFailed(f"the server announces {announced} bytes where {size_bytes} are expected")
        yield from unpacked(answer, size_bytes)


def unpacked(stream: Any, size_bytes: int) -> Iterator[bytes]:
    """The bytes of a stream, unpacked where its first bytes say gzip.

    Args:
        stream: an open binary stream with ``read`` and ``peek``.
        size_bytes: most bytes to give.

    Raises:
        DownloadFailed: there are more.
        EOFError, OSError, zlib.error: the stream breaks off or is damaged.
    """
    plain = gzip.GzipFile(fileobj=stream, mode="rb") if stream.peek(2)[:2] == GZIP else stream
    n_bytes = 0
    while block := plain.read(_BLOCK_BYTES):
        n_bytes += len(block)
        if n_bytes > size_bytes:
            raise DownloadFailed(f"there are more than the {size_bytes} bytes expected")
        yield block


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects as urllib does, but never away from https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _refuse_unsafe(newurl, may_be_local=urllib.parse.urlsplit(req.full_url).scheme == "http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_unsafe(url: str, may_be_local: bool = True) -> None:
    parts = urllib.parse.urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in _LOCAL
    if parts.scheme != "https" and not (may_be_local and is_local):
        raise DownloadFailed(f"{url} is not an https address")


@contextlib.contextmanager
def _explained(timeout_s: float) -> Iterator[None]:
    """Turns what the network can do into `DownloadFailed`."""
    try:
        yield
    except urllib.error.HTTPError as error:
        with error:
            raise DownloadFailed(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadFailed(f"the server cannot be reached ({error.reason})") from error
    except TimeoutError as error:
        raise DownloadFailed(f"the server was silent for {timeout_s:g} s") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DownloadFailed(f"the gzip stream broke off or is damaged ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(f"the connection broke ({error or type(error).__name__})") from error

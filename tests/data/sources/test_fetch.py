import errno
import gzip
import hashlib
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.config import structure
from moola.data.bar_store import BarStore
from moola.data.ingestion import ingest
from moola.data.quality import QualityConfig
from moola.data.sources import SOURCES, fetch, public_sets
from moola.data.sources.fetch import MIRROR, Fetch, obtain
from moola.data.sources.https_download import DownloadFailed, _SafeRedirects
from moola.data.sources.public_sets import SETS, Download, PublicFile, PublicSet
from moola.data.splits.groups import GroupFolds
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError, StorageError
from moola.testing import check_source

SHARED = Path(__file__).parents[3] / "../shared/data"

CONTENT = b"date,OT\n" + b"".join(b"2016-07-01 %02d:%02d:00,%d.5\n" % (i // 60, i % 60, i) for i in range(1440))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Web:
    """A server on this machine; a path answers with what `answers` says, and `asked` counts."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                web.answers.get(self.path, lambda handler: handler.send_error(404))(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def serves(self, path: str, content: bytes, sent: int | None = None, announced: int | None = None) -> str:
        """Answer `path` with `content`, or only `sent` bytes of it; the Content-Length may lie."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            if announced != 0:
                handler.send_header("Content-Length", str(announced or len(content)))
            handler.end_headers()
            handler.wfile.write(content[:sent])

        self.answers[path] = answer
        return self.address + path

    def redirects(self, path: str, to: str) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", to)
            handler.end_headers()

        self.answers[path] = answer
        return self.address + path


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(MIRROR, raising=False)
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()
    thread.join()


def one_file(url: str, content: bytes = CONTENT) -> PublicSet:
    file = PublicFile.at("day.csv", url, sha256(content), len(content))
    options = {"timestamp": "date", "timezone": "UTC", "channels": ("OT",)}
    return PublicSet("day", "a day", "CC0", "nobody", (file,), options=options)


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def refusal(public: PublicSet, cache: Path, mirror: Path | None = None) -> str:
    """The error of an attempt that must fail and keep nothing."""
    with pytest.raises(DataError) as caught:
        obtain(public, cache, mirror, timeout_s=0.5)
    assert left_behind(cache) == []
    return str(caught.value)


def test_a_download_is_whole_and_checked_and_the_second_time_it_comes_from_the_cache(web: Web, tmp_path: Path) -> None:
    public = one_file(web.serves("/day.csv", CONTENT))
    lines: list[str] = []
    folder = obtain(public, tmp_path, progress=lines.append)
    assert (folder / "day.csv").read_bytes() == CONTENT and left_behind(tmp_path) == ["day.csv"]
    assert "licence CC0" in lines[0] and "nobody" in lines[0] and lines[-1].endswith("100 %")
    lines.clear()
    assert obtain(public, tmp_path, progress=lines.append) == folder
    assert web.asked == ["/day.csv"] and lines == []


def test_what_travels_as_gzip_is_unpacked_before_it_is_checked(web: Web, tmp_path: Path) -> None:
    folder = obtain(one_file(web.serves("/day.csv.gz", gzip.compress(CONTENT))), tmp_path)
    assert (folder / "day.csv").read_bytes() == CONTENT


def test_redirects_are_followed_but_not_away_from_https(web: Web, tmp_path: Path) -> None:
    target = web.serves("/moved.csv", CONTENT)
    folder = obtain(one_file(web.redirects("/old.csv", target)), tmp_path / "good")
    assert (folder / "day.csv").read_bytes() == CONTENT
    for unsafe in ("http://192.0.2.1/day.csv", "ftp://192.0.2.1/day.csv"):
        assert f"{unsafe} is not an https" in refusal(one_file(web.redirects("/bad.csv", unsafe)), tmp_path / "bad")
    assert "is not allowed" in refusal(one_file(web.redirects("/bad.csv", "file:///etc/passwd")), tmp_path / "bad")
    assert "302" in refusal(one_file(web.redirects("/round.csv", "/round.csv")), tmp_path / "bad")


def test_other_content_is_refused_with_both_digests_and_nothing_is_kept(web: Web, tmp_path: Path) -> None:
    other = CONTENT.replace(b"7.5", b"8.5")
    text = refusal(one_file(web.serves("/day.csv", other)), tmp_path)
    assert sha256(other) in text and sha256(CONTENT) in text and web.address in text


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (lambda web: web.serves("/f", CONTENT, sent=1000), "broke"),
        (lambda web: web.serves("/f", CONTENT[:-1], announced=0), f"broke off after {len(CONTENT) - 1} of"),
        (lambda web: web.serves("/f", gzip.compress(CONTENT)[:500], announced=0), "gzip stream broke off"),
        (lambda web: web.serves("/f", gzip.compress(CONTENT)[:99] + b"?" * 99), "gzip stream broke off or is damaged"),
        (lambda web: web.serves("/f", b"", announced=0), "broke off after 0 of"),
        (lambda web: web.serves("/f", CONTENT + b"more"), "announces"),
        (lambda web: web.serves("/f", CONTENT + b"more", announced=0), "more than the"),
        (lambda web: web.serves("/f", gzip.compress(CONTENT + b"0" * 10_000_000)), "more than the"),
        (lambda web: f"{web.address}/nowhere", "404"),
        (lambda web: "http://192.0.2.1/f", "is not an https address"),
        (lambda web: "file:///etc/hostname", "is not an https address"),
        (lambda web: "http://127.0.0.1:1/f", "cannot be reached"),
    ],
)
def test_a_download_that_fails_says_why_and_keeps_nothing(
    web: Web, tmp_path: Path, serve: Callable[[Web], str], said: str
) -> None:
    url = serve(web)
    text = refusal(one_file(url), tmp_path)
    assert said in text
    assert MIRROR in text and url in text and sha256(CONTENT) in text


def test_a_server_that_falls_silent_is_given_up(web: Web, tmp_path: Path) -> None:
    gone = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT[:100])
        handler.wfile.flush()
        gone.wait(5)

    web.answers["/slow"] = stall
    assert "silent for 0.5 s" in refusal(one_file(f"{web.address}/slow"), tmp_path)
    gone.set()


def test_an_interrupted_download_leaves_nothing(web: Web, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        if line.endswith(" %"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(one_file(web.serves("/day.csv", CONTENT)), tmp_path, progress=stop)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("packed", [False, True])
def test_the_mirror_is_asked_before_the_network(web: Web, tmp_path: Path, packed: bool) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    name = "day.csv.gz" if packed else "day.csv"
    (mirror / name).write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    folder = obtain(one_file(web.serves("/day.csv", CONTENT)), tmp_path / "cache", mirror)
    assert (folder / "day.csv").read_bytes() == CONTENT and web.asked == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT.replace(b"7.5", b"8.5"), "has SHA-256"),
        (CONTENT[:-10], "broke off after"),
        (CONTENT * 2, "is another file"),
        (gzip.compress(CONTENT)[:300], "cannot be read"),
    ],
)
def test_a_wrong_copy_in_the_mirror_is_refused_and_the_network_not_asked(
    web: Web, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "day.csv").write_bytes(content)
    public = one_file(web.serves("/day.csv", CONTENT))
    text = refusal(public, tmp_path / "cache", tmp_path / "mirror")
    assert said in text and sha256(CONTENT) in text and web.asked == []


def test_what_exists_in_mirrors_only_says_so(web: Web, tmp_path: Path) -> None:
    public = replace(one_file(""), files=(PublicFile("day.csv", sha256(CONTENT), len(CONTENT)),))
    assert "mirrors only" in refusal(public, tmp_path / "cache")
    (tmp_path / "mirror").mkdir()
    text = refusal(public, tmp_path / "cache", tmp_path / "mirror")
    assert "not in the mirror" in text and sha256(CONTENT) in text


def test_a_file_made_of_parts_is_checked_part_by_part_and_as_a_whole(web: Web, tmp_path: Path) -> None:
    halves = CONTENT[:500], CONTENT[500:]
    parts = tuple(Download(web.serves(f"/{i}", half), sha256(half), len(half)) for i, half in enumerate(halves))
    file = PublicFile("day.csv", sha256(CONTENT), len(CONTENT), parts, b"".join)
    public = replace(one_file(""), files=(file,))
    assert (obtain(public, tmp_path / "a") / "day.csv").read_bytes() == CONTENT
    changed = replace(file, recipe=lambda parts: b"".join(parts[::-1]))
    assert "a defect of moola" in refusal(replace(public, files=(changed,)), tmp_path / "b")
    web.serves("/1", b"x" * len(halves[1]))
    assert f"{web.address}/1" in refusal(public, tmp_path / "c")


def test_the_problems_of_every_file_come_in_one_go(web: Web, tmp_path: Path) -> None:
    good, *bad = (
        replace(one_file(f"{web.address}/{name}").files[0], name=name) for name in ("a.csv", "b.csv", "c.csv")
    )
    web.serves("/a.csv", CONTENT)
    with pytest.raises(DataError) as caught:
        obtain(replace(one_file(""), files=(good, *bad)), tmp_path)
    assert caught.value.why.count("404") == 2
    assert left_behind(tmp_path) == ["a.csv"], "what is whole stays"


def test_a_cached_file_that_was_changed_is_never_used_nor_replaced(web: Web, tmp_path: Path) -> None:
    public = one_file(web.serves("/day.csv", CONTENT))
    path = obtain(public, tmp_path) / "day.csv"
    changed = CONTENT.replace(b"7.5", b"8.5")
    path.write_bytes(changed)
    with pytest.raises(StorageError, match="changed after it was fetched"):
        obtain(public, tmp_path)
    assert path.read_bytes() == changed and web.asked == ["/day.csv"]


def test_a_cache_that_cannot_be_written_is_a_storage_error(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"`moola data fetch` in a folder(.|\n)*data\.cache"):
        obtain(one_file(web.serves("/day.csv", CONTENT)), tmp_path / "file")


def test_a_place_that_is_read_only_is_named_with_ways_out_that_exist(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(fetch, "replace_file_atomically", refuse)
    with pytest.raises(StorageError, match="cannot keep") as caught:
        obtain(one_file(web.serves("/day.csv", CONTENT)), tmp_path / "data" / "raw")
    assert "read-only" in caught.value.why.lower() and str(tmp_path / "data") in caught.value.why
    assert "`moola data fetch` in a folder" in caught.value.way_out and "data.cache=" in caught.value.way_out


def test_the_source_reads_what_it_fetched(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "SETS", sets := {"day": one_file(web.serves("/day.csv", CONTENT))})
    monkeypatch.setattr(public_sets, "SETS", sets)
    cache = tmp_path / "with [brackets]"
    source = SOURCES.build("fetch", {"name": "day", "cache": str(cache)}, "data")
    scan = source.scan()
    frame = pl.concat(chunk.frame for chunk in scan.chunks)
    assert scan.channels == ("OT",) and frame.height == 1440 and frame["OT"].sum() == sum(range(1440)) + 720
    assert "licence CC0" in capsys.readouterr().err
    check_source(source)
    assert web.asked == ["/day.csv"]


def test_an_unknown_name_is_refused_with_the_near_one() -> None:
    with pytest.raises(ConfigError) as caught:
        structure(Fetch, {"name": "ETH1"}, "data")
    assert caught.value.problems[0].startswith("data.name:") and "'ETTh1'" in caught.value.problems[0]


def test_an_https_address_does_not_redirect_to_this_machine() -> None:
    asked = urllib.request.Request("https://example.org/a.csv")
    with pytest.raises(DownloadFailed, match="not an https address"):
        _SafeRedirects().redirect_request(asked, None, 302, "Found", {}, "http://127.0.0.1:8080/a.csv")


def test_a_mirror_that_is_no_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path / "absent"))
    with pytest.raises(DataError, match=MIRROR):
        Fetch("ETTh1", str(tmp_path)).scan()


def test_the_catalogue_is_complete_and_pinned() -> None:
    for public in public_sets.public_sets():
        assert public.licence and public.citation and public.content
        text = public.describe()
        assert public.licence in text and public.citation in text
        for file in public.files:
            assert file.sha256 in text
            for part in (file, *file.parts):
                assert len(part.sha256) == 64 and int(part.sha256, 16) and part.size_bytes > 0
            assert file.recipe is not None or {part.sha256 for part in file.parts} <= {file.sha256}
            for part in file.parts:
                owner_repo_commit = part.url.removeprefix("https://raw.githubusercontent.com/").split("/")[:3]
                assert len(owner_repo_commit[2]) == 40 and int(owner_repo_commit[2], 16), "an address that moves"
        reader = SOURCES.get(public.reader)
        paths = {"path": "x"} if public.reader == "files" else {"train": "x", "test": "y"}
        structure(reader, {**paths, **public.options}, "data")


def test_a_month_of_histdata_becomes_csv() -> None:
    months = [
        b"20170102 020000;1.051550;1.051970;1.051550;1.051900;0\n",
        b"20170201 000000;1.100000;1.200000;0.900000;1.000000;0\n",
    ]
    assert public_sets.histdata_as_csv(months) == (
        b"timestamp_est,open,high,low,close\n2017-01-02 02:00:00,1.05155,1.05197,1.05155,1.05190\n"
        b"2017-02-01 00:00:00,1.10000,1.20000,0.90000,1.00000\n"
    )


def test_a_ucr_table_becomes_csv() -> None:
    assert public_sets.ucr_as_csv([b"-1\t0.5\t2\n1\t3\t4\n"]) == b"label,t0,t1\n-1,0.5,2\n1,3,4\n"


ROWS = {
    "ETTh1": 17_420,
    "btc_perp_m1_2022-01": 45_031,
    "6e_h4_futures_m1_2024-01": 29_996,
    "eurusd_m1_2017H1": 186_348,
    "ECG200": 200 * 96,
    "running_points": 77_639,
    "running_sessions": 33,
}


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no mirror beside the repository ({SHARED})")
@pytest.mark.parametrize("name", ROWS)
def test_the_mirror_beside_the_repository_holds_the_catalogue(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(SHARED))
    source = Fetch(name, str(tmp_path))
    scan = source.scan()
    chunks = list(scan.chunks)
    frame = pl.concat(chunk.frame for chunk in chunks)
    assert frame.height == ROWS[name] and frame["timestamp"].null_count() == 0
    assert frame["series"].n_unique() == {"ECG200": 200, "running_points": 33}.get(name, 1)
    missing = {chunk.unread["reason"].unique().to_list()[0] for chunk in chunks if chunk.unread.height}
    assert missing == ({"is empty"} if name == "running_points" else set()), "heart rates are missing there"
    assert scan.independent == (name in ("ECG200", "running_points"))
    assert source.fingerprint() == source.fingerprint()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no mirror beside the repository ({SHARED})")
def test_times_of_ett_stay_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, str(SHARED))
    first = next(iter(Fetch("ETTh1", str(tmp_path)).scan().chunks)).frame["timestamp"][0]
    assert f"{first:%Y-%m-%d %H:%M:%S}" == "2016-07-01 00:00:00"
    assert "UTC" in SETS["ETTh1"].content


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no mirror beside the repository ({SHARED})")
def test_whole_runs_can_be_held_out_and_the_catalogue_counts_their_bad_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run counts its seconds from its own start; that is no time that runs share."""
    monkeypatch.setenv(MIRROR, str(SHARED))
    scan = Fetch("running_points", str(tmp_path / "cache")).scan()
    summary = ingest(scan, tmp_path / "bars", QualityConfig(bad_rows="quarantine"))
    store = BarStore.open(tmp_path / "bars")
    spans = WindowIndex.build(store, WindowConfig(length=60, stride_bars=60)).spans(store)
    part = GroupFolds().spans(store, spans)
    assert len(set(spans.series[part == "test"].tolist())) == 7 and "excluded" not in part
    train = spans[part == "train"]
    assert len(GroupFolds().folds(store, train, np.zeros(len(train), np.int64))) == 5
    repeated = sum(finding.rows for finding in summary.findings if finding.reason == "duplicate")
    bad, content = summary.rows_quarantined, SETS["running_points"].content
    assert f"{bad:,} rows are bad, {bad - repeated} without a value and {repeated} with the time of" in content

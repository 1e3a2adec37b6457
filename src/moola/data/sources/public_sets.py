"""The catalogue of public sets: where each comes from, what its bytes are, who may use it, how it is read.

Every SHA-256 and size here is of the plain file, not of the gzip it may travel in. Each was computed from the file at
the pinned commit that the address names, except for files without an address, which exist in mirrors only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from moola.errors import ConfigError, did_you_mean

_OHLC = ("open", "high", "low", "close")
_GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Download:
    """Bytes at an address.

    Attributes:
        url: https; pinned to a commit where a repository serves it.
        sha256: hex, of the bytes, unpacked if they are gzip.
        size_bytes: unpacked.
    """

    url: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class PublicFile:
    """One file of a set.

    Attributes:
        name: in the cache; a mirror has it under this name, or this name and ``.gz``.
        sha256: hex, of the plain file.
        size_bytes: of the plain file.
        parts: what it is made of; none: it exists in mirrors only; one and no recipe: the file itself.
        recipe: makes the file of its parts.
    """

    name: str
    sha256: str
    size_bytes: int
    parts: tuple[Download, ...] = ()
    recipe: Callable[[Sequence[bytes]], bytes] | None = None

    @classmethod
    def at(cls, name: str, url: str, sha256: str, size_bytes: int) -> PublicFile:
        """A file that is served as it is."""
        return cls(name, sha256, size_bytes, (Download(url, sha256, size_bytes),))


@dataclass(frozen=True)
class PublicSet:
    """A named set.

    Attributes:
        name: for ``data.name=``.
        content: what it holds, in a few words.
        licence: under which it is given, as its source states it.
        citation: whom to cite, or the source where it asks for nothing.
        files: all of them; a ``series_files`` set has the train file first, then the test file.
        reader: the source that reads it.
        options: of that source, paths aside.
    """

    name: str
    content: str
    licence: str
    citation: str
    files: tuple[PublicFile, ...]
    reader: Literal["files", "series_files"] = "files"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Size of all its files."""
        return sum(file.size_bytes for file in self.files)

    def describe(self) -> str:
        """For people: content, licence, citation, and for each file its size, SHA-256 and addresses."""
        lines = [
            f"{self.name}: {self.content}",
            f"  licence:  {self.licence}",
            f"  citation: {self.citation}",
        ]
        for file in self.files:
            lines += [f"  file:     {file.name}, {file.size_bytes:,} bytes", f"    SHA-256 {file.sha256}"]
            lines += [f"    from {part.url}" for part in file.parts] or ["    in a mirror only (MOOLA_DATA_MIRROR)"]
        return "\n".join(lines)


def public_sets() -> list[PublicSet]:
    """Every set of the catalogue, by name."""
    return sorted(SETS.values(), key=lambda public: public.name.lower())


def find_set(name: str) -> PublicSet:
    """The set of that name.

    Raises:
        ConfigError: there is none; near names are given.
    """
    if name not in SETS:
        raise ConfigError([f"name: there is no public set '{name}'; {did_you_mean(name, SETS)}"])
    return SETS[name]


def histdata_as_csv(months: Sequence[bytes]) -> bytes:
    """Minute bars of HistData (``20170102 020000;1.051550;...;volume``) as one CSV file; the volume is always 0."""
    rows = [b"timestamp_est,open,high,low,close\n"]
    for line in b"".join(months).splitlines():
        time, *prices = line.split(b";")[:5]
        day = b"-".join((time[:4], time[4:6], time[6:8]))
        clock = b":".join((time[9:11], time[11:13], time[13:15]))
        rows.append(b",".join((day + b" " + clock, *(price[:-1] for price in prices))) + b"\n")
    return b"".join(rows)


def ucr_as_csv(parts: Sequence[bytes]) -> bytes:
    """A UCR table (label and values, tab between them) as CSV with the header ``label,t0,t1,...``."""
    table = parts[0].replace(b"\t", b",")
    n_values = table[: table.index(b"\n")].count(b",")
    return ",".join(["label", *(f"t{step}" for step in range(n_values))]).encode() + b"\n" + table


def _ett(name: str, sha256: str, size_bytes: int) -> PublicSet:
    commit = "1d16c8f4f943005d613b5bc962e9eeb06058cf07"
    url = f"{_GITHUB}/zhouhaoyi/ETDataset/{commit}/ETT-small/{name}.csv"
    return PublicSet(
        name,
        "electricity transformer, hourly, 2016 to 2018: six loads and the oil temperature OT; upstream names no "
        "timezone, so times stay as written, called UTC",
        "CC BY-ND 4.0",
        "Zhou et al. 2021, Informer, AAAI 35(12), 11106-11115",
        (PublicFile.at(f"{name}.csv", url, sha256, size_bytes),),
        options={
            "timestamp": "date",
            "timezone": "UTC",
            "channels": ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"),
        },
    )


_BTGYM = f"{_GITHUB}/Kismuz/btgym/7fb3316e67f1d7a17c620630fb62fb29428b2cec/examples/data"
_EURUSD_MONTHS = (
    ("f4e9cf104809be40816be58b6ba1b6eefc73749e511acd1baa7797b949f71e4a", 1_701_000),
    ("f2ea5e72faac273311023cd3b7ebdf6cc8cc754ba7ab5c8e3ef6fa650dad09b3", 1_554_066),
    ("d4555a4f825f00fbe1c9d3249c93509b9d379427a79ca10efae289a233583e11", 1_763_640),
    ("e788e736ad0c71580d9adf66f14186de0ea9332237f9afe6cdc81079db38968c", 1_574_694),
    ("ff7ed9ca97bf8e71fd99b127849fb504826aa3a64822c6864078b6ad292741fb", 1_784_916),
    ("dd3a338af162cf7fb87b99e5ce657a8acda923ed53840d36ff5d8e775ced98fa", 1_684_476),
)
_EURUSD = PublicSet(
    "eurusd_m1_2017H1",
    "EUR/USD, one-minute bars, January to June 2017; times are EST without daylight saving",
    "LGPL-3.0 (the repository's; the bars come from HistData)",
    "github.com/Kismuz/btgym; histdata.com",
    (
        PublicFile(
            "eurusd_m1_2017H1.csv",
            "5b3df83d9e23461aa8ed6668f8da93ef2d079af9a1ed3e8eee4763b7607d9c8e",
            9_690_130,
            tuple(
                Download(f"{_BTGYM}/DAT_ASCII_EURUSD_M1_20170{month}.csv", sha256, size_bytes)
                for month, (sha256, size_bytes) in enumerate(_EURUSD_MONTHS, start=1)
            ),
            histdata_as_csv,
        ),
    ),
    options={"timestamp": "timestamp_est", "timezone": "Etc/GMT+5", "channels": _OHLC},
)

_NAUTILUS = f"{_GITHUB}/nautechsystems/nautilus_trader/a95c8042b00133829d252ae8cf68f78fc176a973/tests/test_data"
_BTC = PublicSet(
    "btc_perp_m1_2022-01",
    "a bitcoin perpetual, one-minute bars, January 2022, round the clock, UTC",
    "LGPL-3.0 (the repository's)",
    "github.com/nautechsystems/nautilus_trader",
    (
        PublicFile.at(
            "btc_perp_m1_2022-01.csv",
            f"{_NAUTILUS}/btc-perp-20211231-20220201_1m.csv",
            "65ab55cd5f3531aa64f429772a38331fe82a92973cbb32a79b243073236c8da3",
            3_220_342,
        ),
    ),
    options={"channels": (*_OHLC, "volume")},
)
_EURO_FUTURE = PublicSet(
    "6e_h4_futures_m1_2024-01",
    "the euro future 6E of March 2024 (CME), one-minute bars, January 2024, UTC",
    "LGPL-3.0 (the repository's)",
    "github.com/nautechsystems/nautilus_trader",
    (
        PublicFile.at(
            "6e_h4_futures_m1_2024-01.csv",
            f"{_NAUTILUS}/xcme/6EH4.XCME_1min_bars_20240101_20240131.csv.gz",
            "2544bbed42cb10f1cb4a0af432f80416fc145c9877aee5043bdbbccfbf38ffde",
            1_593_320,
        ),
    ),
    options={"timestamp": "timestamp_utc", "channels": (*_OHLC, "volume")},
)

_ECG200_URL = f"{_GITHUB}/ChangWeiTan/MultiRocket/3ccaa4f8ed11769b904af885e17018c39c89a2ac/data/sample/ECG200"
_ECG200 = PublicSet(
    "ECG200",
    "single heartbeats, normal or infarction, 100 to train and 100 to test, 96 steps",
    "none stated for the series (UCR archive); the repository is GPL-3.0",
    "Dau et al. 2019, The UCR time series archive, IEEE/CAA J. Autom. Sinica 6(6); Olszewski 2001, CMU-CS-01-108",
    (
        PublicFile(
            "ucr_ECG200_TRAIN.csv",
            "254437f7d84c53bfc6f47694330eadec6aad1739179f88891cf4a75f271fd792",
            107_119,
            (
                Download(
                    f"{_ECG200_URL}/ECG200_TRAIN.tsv",
                    "bd08b37147ebf205231ad43e02c42dd5c14bc348f4ccc7614f85634c8916bf21",
                    106_739,
                ),
            ),
            ucr_as_csv,
        ),
        PublicFile(
            "ucr_ECG200_TEST.csv",
            "f34cddac7e08225dee5568230359b2d938d729c08ced8dd5d35b9f091dec6ee6",
            107_120,
            (
                Download(
                    f"{_ECG200_URL}/ECG200_TEST.tsv",
                    "c8ac02caf98be23c47c044fde026219301ceaf0b2f97bc107bd0cd96330b867c",
                    106_740,
                ),
            ),
            ucr_as_csv,
        ),
    ),
    reader="series_files",
)

_TRACKER = "github.com/trackerproject/trackeR, inst/extdata/tcx; Frick and Kosmidis 2017, J. Stat. Softw. 82(7)"
_RUNNING_SESSIONS = PublicSet(
    "running_sessions",
    "33 runs of June 2013, one row a run: distance, time, heart rate, ascent",
    "GPL-3 (the repository's); derived from its files, in mirrors only",
    _TRACKER,
    (PublicFile("running_sessions.csv", "5002f12a0265a77793eee0b6d585811cedd5d6c31b4334ec99e73e5857616439", 2_755),),
    options={
        "timestamp": "start_utc",
        "channels": ("distance_m", "elapsed_s", "avg_hr", "max_hr", "ascent_m", "points"),
    },
)
_RUNNING_POINTS = PublicSet(
    "running_points",
    "the points of these 33 runs, each a series: distance, altitude, heart rate; time is the seconds since the start "
    "of the run, counted from 1970; 1,033 rows are bad, 754 without a value and 279 with the time of the row before: "
    "data.quality.bad_rows=quarantine leaves them out",
    "GPL-3 (the repository's); derived from its files, in mirrors only",
    _TRACKER,
    (PublicFile("running_points.csv", "d643520aa529f437ab94fc2fed48bf38d1319121800cebc3eebea2f8779fdb65", 3_766_487),),
    options={
        "timestamp": "elapsed_s",
        "time_format": "epoch_s",
        "symbol": "session",
        "independent": True,
        "channels": ("distance_m", "altitude_m", "hr_bpm"),
    },
)

SETS: Mapping[str, PublicSet] = MappingProxyType(
    {
        public.name: public
        for public in (
            _ett("ETTh1", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066", 2_589_657),
            _ett("ETTh2", "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b", 2_417_960),
            _BTC,
            _ECG200,
            _EURO_FUTURE,
            _EURUSD,
            _RUNNING_POINTS,
            _RUNNING_SESSIONS,
        )
    }
)

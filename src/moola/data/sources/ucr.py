"""Human-labelled sets of the UCR/UEA archive that ship inside `aeon`: one series a case, fixed train and test."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from moola.data.sources import BarScan
from moola.data.sources.series_files import SeriesFiles, Unequal
from moola.errors import DataError, MissingPackageError, did_you_mean


@dataclass(frozen=True)
class Ucr:
    """One bundled set, e.g. GunPoint (50 train, 150 test, 150 steps). Dau et al. 2019, IEEE/CAA J. Autom. Sinica 6(6).

    The files are read inside the installed package by `SeriesFiles`; aeon itself is not imported.

    Attributes:
        name: folder name of the set inside aeon.
        unequal: what becomes of cases of different lengths, as in `SeriesFiles`.
    """

    name: str
    unequal: Unequal = "refuse"

    def fingerprint(self) -> str:
        """Digest of the two files inside the installed package."""
        return self._files().fingerprint()

    def scan(self) -> BarScan:
        """Read both parts.

        Raises:
            DataError: aeon ships no such set, or the cases differ in length and `unequal` refuses that.
        """
        return self._files().scan()

    def _files(self) -> SeriesFiles:
        bundled = bundled_names()
        if self.name not in bundled:
            raise DataError(
                f"aeon ships no set named '{self.name}'",
                did_you_mean(self.name, bundled),
                "name one that it ships (data.name=GunPoint), or read files of your own: data=series_files",
            )
        train, test = (str(_folder() / self.name / f"{self.name}_{part}.ts") for part in ("TRAIN", "TEST"))
        return SeriesFiles(train, test, self.unequal)


def bundled_names() -> list[str]:
    """Every set that aeon ships, sorted.

    Raises:
        MissingPackageError: aeon is not installed.
    """
    return sorted(item.name for item in _folder().iterdir() if (item / f"{item.name}_TRAIN.ts").exists())


def _folder() -> Path:
    # The package's own loader compiles for seconds; its files need none of it.
    found = importlib.util.find_spec("aeon")
    if found is None or found.origin is None:
        raise MissingPackageError("UCR sets need the aeon package", "it ships them", "pip install 'moola[data]'")
    return Path(found.origin).parent / "datasets" / "data"

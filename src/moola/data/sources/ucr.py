"""Human-labelled sets of the UCR/UEA archive that ship inside `aeon`: one series a case, fixed train and test."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola import schemas
from moola.data.sources import Bars, series_table
from moola.errors import DataError, MissingPackageError, did_you_mean
from moola.layout import digest_file
from moola.schemas import TIMESTAMP, check


@dataclass(frozen=True)
class Ucr:
    """One bundled set, e.g. GunPoint (50 train, 150 test, 150 steps). Dau et al. 2019, IEEE/CAA J. Autom. Sinica 6(6).

    Attributes:
        name: folder name of the set inside aeon.
    """

    name: str

    def fingerprint(self) -> str:
        """Digest of the two files inside the installed package."""
        return hashlib.sha256("".join(digest_file(self._file(part)) for part in ("TRAIN", "TEST")).encode()).hexdigest()

    def load(self) -> Bars:
        """Read both parts; the step number stands in for time, because these cases have none."""
        from aeon.datasets import load_from_ts_file

        frames: list[pl.DataFrame] = []
        names: list[str] = []
        splits: list[str] = []
        labels: list[str] = []
        for part in ("train", "test"):
            cases, classes = load_from_ts_file(str(self._file(part.upper())))[:2]
            if isinstance(cases, list):
                lengths = sorted({case.shape[1] for case in cases})
                raise DataError(
                    f"{self.name} holds cases of different lengths",
                    f"from {lengths[0]} to {lengths[-1]} steps",
                    "choose a set of equal lengths, e.g. data.name=GunPoint",
                )
            for number, (case, label) in enumerate(zip(np.asarray(cases), classes, strict=True)):
                name = f"{self.name}_{part}_{number:05d}"
                frames.append(_case_frame(name, case))
                names.append(name)
                splits.append(part)
                labels.append(str(label))
        frame = pl.concat(frames)
        checked = check(frame, schemas.bars(tuple(frame.columns[2:])), f"the set {self.name}", "choose another set")
        return Bars(checked, series_table(names, splits, labels), independent=True)

    def _file(self, part: str) -> Path:
        found = importlib.util.find_spec("aeon")
        if found is None or found.origin is None:
            raise MissingPackageError("UCR sets need the aeon package", "it ships them", "pip install 'moola[data]'")
        folder = Path(found.origin).parent / "datasets" / "data"
        bundled = sorted(item.name for item in folder.iterdir() if (item / f"{item.name}_TRAIN.ts").exists())
        if self.name not in bundled:
            raise DataError(
                f"aeon ships no set named '{self.name}'", did_you_mean(self.name, bundled), "data.name=" + bundled[0]
            )
        return folder / self.name / f"{self.name}_{part}.ts"


def _case_frame(name: str, case: np.ndarray) -> pl.DataFrame:
    """One case [n_channels, n_steps] as rows."""
    steps = case.shape[1]
    return pl.DataFrame(
        {
            "series": [name] * steps,
            "timestamp": pl.Series(np.arange(steps)).cast(TIMESTAMP),
            **{f"channel_{i}": case[i].astype(np.float64) for i in range(case.shape[0])},
        }
    )

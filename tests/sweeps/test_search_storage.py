"""Where studies are kept: wrong places, passwords that nobody sees, and journals that were torn."""

from __future__ import annotations

import socket
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import ConfigError, MissingPackageError, StorageError
from moola.sweeps.search.storage import StudyStorage, spoken_place

optuna = pytest.importorskip("optuna")
ANNA = "anna:Sup3rS3cret"


@given(st.text(string.ascii_letters + string.digits + "/:?#%@", min_size=1))
def test_no_part_of_a_password_is_spoken(password: str):
    alone, twice = f"postgresql://anna:{password}@db/moola", f"mysql+pymysql://anna:{password}@h/db?password={password}"
    assert spoken_place(alone) in ("postgresql://anna:***@db/moola", "postgresql://***")
    assert spoken_place(twice) in ("mysql+pymysql://anna:***@h/db?***", "mysql+pymysql://***")


def test_places_without_a_password_stay_as_they_are():
    for place in ("a/b.journal", "sqlite:////tmp/x.db", "postgresql://anna@host/db"):
        assert spoken_place(place) == place


@pytest.mark.parametrize(
    ("url", "error", "told"),
    [
        (f"postgres://{ANNA}@host/db", ConfigError, "did you mean 'postgresql'"),
        ("nonsense://", ConfigError, "postgresql"),
        (f"postgresql+pg8001://{ANNA}@host/db", ConfigError, "no URL of a database"),
        (f"mysql+pymysql://{ANNA}@host/db", MissingPackageError, "pip install pymysql"),
        ("sqlite:////nowhere/at/all/study.db", StorageError, "cannot be used"),
    ],
)
def test_a_wrong_url_is_told_with_the_way_out_and_without_its_password(url: str, error: type, told: str):
    with pytest.raises(error, match=told) as raised:
        StudyStorage(url)
    assert "Sup3rS3cret" not in str(raised.value)
    assert raised.value.way_out


def test_a_server_that_is_not_there_is_told():
    pytest.importorskip("psycopg")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"postgresql+psycopg://{ANNA}@127.0.0.1:{taken.getsockname()[1]}/moola"
        with pytest.raises(StorageError, match="cannot be used") as raised:
            StudyStorage(url)
    assert "Sup3rS3cret" not in str(raised.value)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path):
    place = tmp_path / "notes.txt"
    place.write_text("hello\nworld\n")
    with pytest.raises(StorageError, match="no journal"):
        StudyStorage(str(place))


def test_a_line_that_a_kill_tore_is_cut_off(tmp_path: Path):
    place = tmp_path / "study.journal"
    optuna.create_study(storage=StudyStorage(str(place)).optuna, study_name="a")
    with place.open("a") as handle:
        handle.write('{"op_code":0,"worker')
    optuna.create_study(storage=StudyStorage(str(place)).optuna, study_name="b")
    assert set(optuna.get_all_study_names(StudyStorage(str(place)).optuna)) == {"a", "b"}

"""A look at the sealed test is never forgotten, and never counted twice for one run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moola.errors import StorageError
from moola.pipelines.sealed_tests import open_sealed_test


def names(path: Path, digest: str, run_id: str) -> list[str]:
    return [one.run_id for one in open_sealed_test(path, digest, run_id)]


def test_other_runs_that_looked_before_are_told_in_order(tmp_path: Path) -> None:
    path = tmp_path / "metadata" / "sealed_tests.jsonl"
    assert names(path, "a", "first") == []
    assert names(path, "a", "second") == ["first"]
    assert names(path, "b", "third") == []
    assert names(path, "a", "first") == []  # it looks again, at what it had seen before any other
    assert names(path, "a", "fourth") == ["first", "second"]
    assert len(path.read_text().splitlines()) == 4


def test_a_line_cut_by_a_kill_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "sealed_tests.jsonl"
    names(path, "a", "first")
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert names(path, "a", "second") == ["first"]
    assert names(path, "a", "third") == ["first", "second"]


def test_a_list_that_is_none_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "sealed_tests.jsonl"
    path.write_text("{}\n")
    with pytest.raises(StorageError, match="is not what was written"):
        open_sealed_test(path, "a", "first")
    assert path.read_text() == "{}\n"


def test_runs_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sealed_tests.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: open_sealed_test(path, "a", f"run{number}"), range(40)))
    assert len(set(names(path, "a", "last"))) == 40

"""Mistakes on the road to a pod that the projects before moola shipped, put back: each is refused.

That no source opens a shell, loads a pickle or leaves a host key unchecked: `tests/packaging/test_source_rules.py`.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from stand_in import stand_in_run

from moola.errors import DataError, StorageError
from moola.layout import Layout
from moola.pipelines.pretraining_checks import notes
from moola.pods import packing, run_naming
from moola.pods.bundle import Bundle
from moola.pods.composed_run import RunName
from moola.pods.packing import PackLimits, pack
from moola.pods.patience import Patience
from moola.pods.results import pull
from moola.pods.ssh import HostKeyError, SshConnection
from moola.pods.transfer import push
from moola.pods.wire import Answer, LocalConnection

RUN = "demo-0123456789ab"
UNLABELLED, LABELLED = 11_873, 98
"""Windows that were meant, and rows of the file that was uploaded."""


def table(rows: int) -> bytes:
    """So many windows as a CSV file with a header."""
    return b"window_id,close\n" + b"".join(b"w%06d,1.5\n" % row for row in range(rows))


def flipped(block: bytes) -> bytes:
    """With one bit of its last byte changed."""
    return block[:-1] + bytes([block[-1] ^ 1])


def patience() -> Patience:
    return Patience(2, sleep=lambda _: None)


class Spoilt:
    """A connection to a pod that spoils what goes through it.

    Args:
        inner: the connection.
        told: makes of each answer what is changed of it.
        up: makes of each block that leaves what arrives.
        down: makes of each block that comes what arrives.
    """

    def __init__(
        self,
        inner: LocalConnection,
        told: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda answer: {},
        up: Callable[[bytes], bytes] = lambda block: block,
        down: Callable[[bytes], bytes] = lambda block: block,
    ) -> None:
        self._inner, self._told, self._up, self._down = inner, told, up, down

    def request(
        self, action: str, arguments: Mapping[str, Any], *, body: Any = (), sink: Any = None, **options: Any
    ) -> Answer:
        taken = None if sink is None else lambda block: sink(self._down(block))
        answer = self._inner.request(action, arguments, body=map(self._up, body), sink=taken, **options)
        return Answer({**answer.value, **self._told(answer.value)}, answer.sent_at, answer.took_s)

    def describe(self) -> str:
        return "a pod of a test"


@pytest.fixture
def bundle(bundle_of: Callable[..., Bundle]) -> Bundle:
    """What is to be pretrained on, as packed."""
    return bundle_of({"data/bars.csv": table(UNLABELLED)}, facts={"rows": {"data/bars.csv": UNLABELLED}})


def test_defect_13_a_file_swapped_after_packing_never_leaves_and_nothing_starts(tmp_path: Path) -> None:
    said: list[str] = []
    run = stand_in_run(tmp_path, said)
    [data] = [file for file in run.bundle.files if file.kind == "data"]
    (tmp_path / "packed" / data.sha256).write_bytes(table(LABELLED))
    with pytest.raises(StorageError, match="no longer what was packed"):
        run.go()
    assert run.ledger.events(RUN) == [] and not [line for line in said if line.startswith("job")]
    assert run.ledger.pods(RUN) and run.ledger.pods(RUN, open_only=True) == [], "the pod bills no longer"


@pytest.mark.parametrize("rows_alone", [False, True])
def test_defect_13_a_pod_with_other_data_than_was_packed_is_refused(
    rows_alone: bool, local: LocalConnection, bundle: Bundle, tmp_path: Path
) -> None:
    sha256 = bundle.files[0].sha256 if rows_alone else "0" * 64
    other = {"path": "data/bars.csv", "sha256": sha256, "records": LABELLED + 1}
    pod = Spoilt(local, told=lambda answer: {"data": [other]} if "data" in answer else {})
    says = "the pod counts 99 lines, packed were 11,873 rows" if rows_alone else "the pod has SHA-256 0000"
    with pytest.raises(StorageError, match=says):
        push(pod, str(tmp_path / "root"), bundle, RUN)


def test_defect_13_a_file_swapped_on_the_pod_is_put_right(
    local: LocalConnection, bundle: Bundle, tmp_path: Path
) -> None:
    root = str(tmp_path / "root")
    bars = Path(push(local, root, bundle, RUN).project, "data/bars.csv")
    bars.unlink()
    bars.write_bytes(table(LABELLED))
    [data] = push(local, root, bundle, RUN).data
    assert bars.read_bytes() == table(UNLABELLED) and data.rows == UNLABELLED


def test_defect_13_windows_as_few_as_labels_are_told() -> None:
    [told] = notes(LABELLED, n_validation=10, batch_size=64, least=1)
    assert "only 98 windows" in told and "is it the file that was meant?" in told
    assert notes(UNLABELLED, n_validation=1200, batch_size=64, least=1) == []


def test_defect_14_a_file_name_runs_nothing(
    sshd: Any, connect: Callable[..., SshConnection], bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    words = [f"$(touch {made})", f"`touch {made}`", f"a; touch {made}", f"'; touch {made}; '", f"\n touch {made}\n"]
    contents = {f"src/{word}": word.encode() for word in words}
    connection = connect(sshd.target())
    push(connection, str(sshd.root), bundle_of(contents), RUN)
    pull(connection, str(sshd.root), RUN, ["src/**"], tmp_path / "back")
    assert tree_of(tmp_path / "back") == contents
    assert not made.exists()


def test_defect_14_a_changed_host_key_is_refused(
    sshd: Any, connect: Callable[..., SshConnection], bundle: Bundle
) -> None:
    known = sshd.target()
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    with pytest.raises(HostKeyError, match="not known to be the machine it should be"):
        push(connect(known), str(sshd.root), bundle, RUN)
    assert not sshd.root.exists()


class Runs:
    """Whoever loads it runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch made",)


def test_defect_14_a_pickle_that_runs_something_never_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_naming, "_started", lambda project: None)
    monkeypatch.setattr(run_naming, "name_run", lambda run, project: RunName(RUN, {}))
    monkeypatch.setattr(packing, "moola_itself", lambda project, tree: ("src", {}))
    (tmp_path / "encoder.pt").write_bytes(pickle.dumps({"weights": Runs()}))
    with pytest.raises(DataError, match=r"encoder\.pt: .*system"):
        pack(tmp_path, [], Layout(tmp_path / "data", tmp_path / "artifacts"), limits=PackLimits())
    assert not (tmp_path / "artifacts").exists()


def test_defect_14_one_wrong_byte_is_refused_there_and_here(
    local: LocalConnection, bundle: Bundle, tmp_path: Path
) -> None:
    root = str(tmp_path / "root")
    with pytest.raises(StorageError, match="not what its digest says"):
        push(Spoilt(local, up=flipped), root, bundle, RUN, patience=patience())
    assert list(Path(root).glob(f"runs/{RUN}/project/*")) == []
    push(local, root, bundle, RUN)
    with pytest.raises(StorageError):
        pull(Spoilt(local, down=flipped), root, RUN, ["data/**"], tmp_path / "back", patience=patience())
    assert list((tmp_path / "back").glob("data/*.csv")) == []

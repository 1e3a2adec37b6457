"""Copies of a run's working state: which of them is sent to a pod."""

from __future__ import annotations

from pathlib import Path

from moola.layout import digest_file, write_bytes, write_json
from moola.pods.checkpoints import checkpoint_files


def test_a_copy_that_is_older_than_what_the_pod_has_is_not_sent(tmp_path: Path) -> None:
    state = tmp_path / "files" / "artifacts" / "last.safetensors"
    assert checkpoint_files(tmp_path) == {}
    write_bytes(state, b"weights")
    write_json(tmp_path / "checkpoint.json", {"artifacts/last.safetensors": digest_file(state)})
    write_json(tmp_path / "taken.json", {"billed_s": 1000.0})
    assert checkpoint_files(tmp_path) == {"artifacts/last.safetensors": state}
    assert checkpoint_files(tmp_path, taken_after_s=999.0) == {"artifacts/last.safetensors": state}
    assert checkpoint_files(tmp_path, taken_after_s=1001.0) == {}
    state.write_bytes(b"torn")
    assert checkpoint_files(tmp_path) == {}

"""Copies of a run's working state: which of them is sent to a pod."""

from __future__ import annotations

from pathlib import Path

from moola.layout import digest_file, write_bytes, write_json
from moola.pods.checkpoints import checkpoint_files, kept_checkpoint


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


def test_a_word_about_a_run_that_did_nothing_is_no_work_to_go_on_from(tmp_path: Path) -> None:
    names = ["artifacts/results/demo/pod.json", "artifacts/metadata/sealed_tests.jsonl"]
    for name in names:
        write_bytes(tmp_path / "files" / name, b"")
    write_json(tmp_path / "checkpoint.json", {name: digest_file(tmp_path / "files" / name) for name in names})
    assert set(checkpoint_files(tmp_path)) == set(names) and kept_checkpoint(tmp_path) is None

"""Publishing, finding, and refusing what is not what was written."""

from __future__ import annotations

import json
import os

import pytest
import torch

from moola.encoders.loading import load_encoder
from moola.encoders.record import read_record
from moola.encoders.shelf import encoder_folders, find_folder, mend
from moola.errors import ConfigError, StorageError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape


def test_the_same_content_keeps_its_name_and_another_gets_the_next(room, put):
    first, is_new = put("c0")
    assert (first.name, is_new) == ("bilstm_mae_2d_v1", True)
    assert put("c0") == (first, False)
    assert put("c1")[0].name == "bilstm_mae_2d_v2"
    assert [folder.name for folder in encoder_folders(room)] == ["bilstm_mae_2d_v1", "bilstm_mae_2d_v2"]


def test_what_is_damaged_is_copied_anew_and_nothing_else(room, put, tmp_path):
    record, _ = put()
    folder = room / record.name
    sources = {name: tmp_path / "made" / name for name in record.files}
    assert mend(folder, sources) == []
    _truncate(folder)
    _remove(folder)
    assert mend(folder, sources) == ["encoder-seed0.safetensors", "encoder-seed1.safetensors"]
    assert load_encoder(record.name, 0, room).record == record


def test_a_name_is_not_given_again_when_its_folder_cannot_be_read(room, put):
    put("c0")
    (room / "bilstm_mae_2d_v1" / "encoder.json").write_text("{}")
    assert put("c0")[0].name == "bilstm_mae_2d_v2"


def test_a_record_reads_back_as_it_was_written(room, put):
    record, _ = put()
    again = read_record(room / record.name)
    assert again == record
    assert again.digest == json.loads((room / record.name / "encoder.json").read_text())["digest"]


def test_a_publication_that_fails_leaves_no_name(room, put, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moola.encoders.shelf.write_record", full)
    with pytest.raises(OSError, match="No space"):
        put()
    assert encoder_folders(room) == []
    monkeypatch.undo()
    assert put()[0].name == "bilstm_mae_2d_v1"
    assert sorted(path.name for path in room.iterdir()) == [".names.lock", "bilstm_mae_2d_v1"]


def test_an_unknown_name_is_answered_with_the_near_one(room, put):
    put()
    with pytest.raises(ConfigError, match="did you mean 'bilstm_mae_2d_v1'"):
        find_folder("bilstm_mea_2d_v1", room)


def test_a_path_finds_a_folder_and_an_artifact_of_a_stage_is_none(room, put, tmp_path):
    record, _ = put()
    moved = tmp_path / "elsewhere"
    os.rename(room / record.name, moved)
    assert load_encoder(str(moved), room=room).record == record
    (moved / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="no encoder named"):
        find_folder(str(moved), room)


def test_a_loaded_encoder_has_the_weights_of_the_seed_and_does_not_train(room, put):
    put()
    torch.manual_seed(1)
    expected = BiLstm(hidden=3).build(InputShape(2, 12)).state_dict()
    ready = load_encoder("bilstm_mae_2d_v1", 1, room)
    assert all(torch.equal(value, expected[name]) for name, value in ready.encoder.state_dict().items())
    assert not ready.encoder.training
    assert load_encoder("bilstm_mae_2d_v1", None, room).seed == 0


def test_a_seed_that_it_has_not_is_refused_with_those_it_has(room, put):
    put()
    with pytest.raises(ConfigError, match="no weights of seed 7; known: 0, 1"):
        load_encoder("bilstm_mae_2d_v1", 7, room)


def _truncate(folder) -> None:
    path = folder / "encoder-seed0.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def _exchange(folder) -> None:
    (folder / "encoder-seed0.safetensors").write_bytes((folder / "encoder-seed1.safetensors").read_bytes())


def _remove(folder) -> None:
    (folder / "encoder-seed1.safetensors").unlink()


def _edit(folder) -> None:
    path = folder / "encoder.json"
    path.write_text(path.read_text().replace('"visible_bars": 12', '"visible_bars": 13'))


def _replace_by_foreign(folder) -> None:
    (folder / "encoder.json").write_text('{"encoder": {"class": "x"}, "seeds": [0]}')


def _no_json(folder) -> None:
    (folder / "encoder.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_truncate, "encoder-seed0.safetensors: is not what was written"),
        (_exchange, "encoder-seed0.safetensors: is not what was written"),
        (_remove, "encoder-seed1.safetensors: is missing"),
        (_edit, "its content has another digest"),
        (_replace_by_foreign, "no record of a named encoder"),
        (_no_json, "is not JSON"),
    ],
)
def test_what_is_truncated_changed_or_foreign_is_refused(room, put, damage, told):
    record, _ = put()
    damage(room / record.name)
    with pytest.raises(StorageError) as refused:
        load_encoder(record.name, 0, room)
    assert told in str(refused.value)


def test_windows_of_another_length_are_encoded_in_the_same_shares_where_nothing_is_known_of_their_parts(room, put):
    config = BiLstm(hidden=3, pooling="spans")
    put(config=config)
    torch.manual_seed(0)
    learned = config.build(InputShape(2, 12, ((0, 6), (6, 12)))).eval()
    windows = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = learned.encode(windows)
        found = load_encoder("bilstm_mae_2d_v1", 0, room).encoder.encode(windows)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_an_encoder_of_a_package_that_is_not_installed_says_so(room, put, monkeypatch):
    import moola.encoders.loading as loading
    from moola.registry import Registry

    put()
    monkeypatch.setattr(loading, "ENCODERS", Registry("encoder", {}))
    with pytest.raises(StorageError, match=r"cannot be built here\n.*no encoder named 'bilstm'"):
        load_encoder("bilstm_mae_2d_v1", 0, room)

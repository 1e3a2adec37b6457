"""Which files of a project travel, with git and without, and what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from moola.data.sources.problems import Problems
from moola.errors import StorageError
from moola.layout import Layout
from moola.pods.project_files import ProjectFiles, list_project

_IDENTITY = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b"}


def git(folder: Path, *words: str) -> None:
    environment = {**os.environ, **_IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *words],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def committed(folder: Path, files: Mapping[str, str]) -> Path:
    write(folder, files)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def listed(project: Path) -> tuple[ProjectFiles, list[str]]:
    problems = Problems()
    found = list_project(project, Layout(project / "data", project / "artifacts"), problems)
    return found, problems.lines()


def names(project: Path) -> list[str]:
    found, problems = listed(project)
    assert problems == []
    return sorted(found.files)


@pytest.fixture(params=["git", "plain"])
def project_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Makes a project of files that nobody committed, in a git work tree or in none."""

    def make(files: Mapping[str, str]) -> Path:
        folder = write(tmp_path / "project", files)
        if request.param == "git":
            git(folder, "init", "-q")
        return folder

    return make


def test_head_with_its_changes_and_new_files_travels(tmp_path):
    project = committed(tmp_path, {"kept.py": "1", "changed.py": "1", "deleted.py": "1", "sub/deep.py": "1"})
    (project / "changed.py").write_text("2")
    (project / "deleted.py").unlink()
    write(project, {"new.py": "3"})
    found, problems = listed(project)
    assert sorted(found.files) == ["changed.py", "kept.py", "new.py", "sub/deep.py"]
    assert found.git is not None
    assert (found.git["branch"], found.git["dirty"], len(found.git["commit"])) == ("main", True, 40)
    assert problems == []


def test_a_clean_tree_is_clean_whatever_moola_wrote_in_it(tmp_path):
    project = committed(tmp_path, {"a.py": "1"})
    write(project, {"artifacts/runpod_bundles/objects/ab/abc": "x", "data/raw/bars.csv": "t,o"})
    found, _ = listed(project)
    assert found.git is not None
    assert not found.git["dirty"]
    assert sorted(found.files) == ["a.py"]
    assert {"artifacts/", "data/"} <= found.left_out.keys()


def test_a_repository_without_a_commit_and_a_detached_head_are_told(tmp_path):
    write(tmp_path / "new", {"a.py": "1"})
    git(tmp_path / "new", "init", "-q", "-b", "main")
    assert listed(tmp_path / "new")[0].git == {"commit": None, "branch": "main", "dirty": True}
    project = committed(tmp_path / "old", {"a.py": "1"})
    git(project, "checkout", "-q", "--detach")
    found, _ = listed(project)
    assert found.git is not None
    assert found.git["branch"] is None


def test_a_folder_of_a_repository_is_a_project_of_its_own(tmp_path):
    committed(tmp_path, {"top.py": "1", "sub/a.py": "1", "sub/b/c.py": "1"})
    assert names(tmp_path / "sub") == ["a.py", "b/c.py"]


def test_a_folder_that_the_repository_around_it_ignores_is_read_without_git(tmp_path):
    committed(tmp_path, {".gitignore": "sub/\n", "top.py": "1"})
    write(tmp_path / "sub", {"a.py": "1", ".gitignore": "*.log\n", "b.log": "1"})
    found, _ = listed(tmp_path / "sub")
    assert (sorted(found.files), found.git) == ([".gitignore", "a.py"], None)


def test_ignored_files_stay_and_are_named(project_of):
    project = project_of(
        {
            ".gitignore": "*.log\nbuild/\n/top.txt\n!kept.log\n",
            "a.py": "1",
            "a.log": "1",
            "kept.log": "1",
            "build/x": "1",
            "top.txt": "1",
            "sub/top.txt": "1",
            "sub/.gitignore": "!a.log\n*.tmp\n",
            "sub/a.log": "1",
            "sub/b.tmp": "1",
        }
    )
    found, _ = listed(project)
    assert sorted(found.files) == [".gitignore", "a.py", "kept.log", "sub/.gitignore", "sub/a.log", "sub/top.txt"]
    assert found.left_out == dict.fromkeys(["a.log", "build/", "sub/b.tmp", "top.txt"], ".gitignore")


def test_moolaignore_leaves_out_what_git_keeps(tmp_path):
    project = committed(tmp_path, {".moolaignore": "docs/\n*.png\n", "a.py": "1", "docs/x.md": "1", "b.png": "1"})
    found, _ = listed(project)
    assert sorted(found.files) == [".moolaignore", "a.py"]
    assert found.left_out == {"docs/x.md": ".moolaignore", "b.png": ".moolaignore"}


def test_without_git_caches_and_environments_stay(tmp_path):
    write(tmp_path, {"a.py": "1", ".venv/x": "1", "sub/__pycache__/a.pyc": "1", "b.pyc": "1"})
    found, _ = listed(tmp_path)
    assert sorted(found.files) == ["a.py"]
    assert {".venv/", "sub/__pycache__/", "b.pyc"} == found.left_out.keys()


def test_data_in_the_index_travels_and_other_data_does_not(tmp_path):
    project = committed(tmp_path, {"data/README.md": "1", "artifacts/README.md": "1", "a.py": "1"})
    write(project, {"data/raw/bars.csv": "1"})
    assert names(project) == ["a.py", "data/README.md"]


def test_what_a_project_has_under_the_name_of_moolas_own_folder_stays(project_of):
    found, _ = listed(project_of({".moola_pod/source/moola/__init__.py": "evil", "a.py": "1"}))
    assert sorted(found.files) == ["a.py"]
    assert ".moola_pod/" in found.left_out


STRANGE = ["with blank", "quo'te", 'dou"ble', "new\nline", "semi;colon", "$(touch x)", "tab\t", "-rf", "*", "ünï", "\\"]


def test_strange_names_come_as_they_are(project_of):
    assert names(project_of(dict.fromkeys(STRANGE, "1"))) == sorted(STRANGE)


def test_a_name_that_is_no_utf8_comes_as_it_is(project_of):
    project = project_of({"a": "1"})
    name = os.fsdecode(b"\xff\xfe.py")
    (project / name).write_text("1")
    assert names(project) == sorted(["a", name])


def test_links_inside_the_project_are_followed(project_of):
    project = project_of({"real.py": "1", "folder/a.py": "1", "folder/b/c.py": "1"})
    (project / "link.py").symlink_to("real.py")
    (project / "again").symlink_to("folder")
    found, problems = listed(project)
    assert problems == []
    assert sorted(found.files) == [
        *("again/a.py", "again/b/c.py", "folder/a.py", "folder/b/c.py", "link.py", "real.py"),
    ]
    assert found.files["link.py"].read_text() == "1"


def test_a_link_to_the_folder_it_lies_in_ends(project_of):
    project = project_of({"sub/a.py": "1"})
    (project / "sub" / "up").symlink_to("..")
    assert names(project) == ["sub/a.py", "sub/up/sub/a.py"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../beside.py", "/etc"])
def test_a_link_that_leads_out_is_refused(project_of, tmp_path, target):
    write(tmp_path, {"beside.py": "1"})
    project = project_of({"a.py": "1"})
    (project / "link").symlink_to(target)
    _, problems = listed(project)
    assert len(problems) == 1
    assert "link is a link that leads out of the project" in problems[0]


def test_links_to_nothing_and_to_each_other_are_refused(project_of):
    project = project_of({"a.py": "1"})
    (project / "dangling").symlink_to("gone")
    (project / "one").symlink_to("two")
    (project / "two").symlink_to("one")
    _, problems = listed(project)
    assert len(problems) == 3
    assert "- dangling is a link to nothing" in problems


def test_a_folder_in_the_index_that_became_a_link_out_is_refused(tmp_path):
    project = committed(tmp_path / "project", {"sub/a.py": "1", "b.py": "1"})
    write(tmp_path / "elsewhere", {"a.py": "2"})
    (project / "sub" / "a.py").unlink()
    (project / "sub").rmdir()
    (project / "sub").symlink_to(tmp_path / "elsewhere")
    found, problems = listed(project)
    assert sorted(found.files) == ["b.py"]
    assert any("leads out" in line for line in problems)


def test_a_pipe_stays(tmp_path):
    write(tmp_path, {"a.py": "1"})
    os.mkfifo(tmp_path / "pipe")
    found, _ = listed(tmp_path)
    assert (sorted(found.files), found.left_out) == (["a.py"], {"pipe": "no regular file"})


def with_submodule(tmp_path: Path) -> Path:
    committed(tmp_path / "library", {"lib.py": "1"})
    project = committed(tmp_path / "project", {"a.py": "1"})
    git(project, "submodule", "add", "-q", str(tmp_path / "library"), "vendor/library")
    git(project, "commit", "-q", "-m", "submodule")
    return project


def test_files_of_a_submodule_travel(tmp_path):
    project = with_submodule(tmp_path)
    assert "vendor/library/lib.py" in names(project)
    git(project, "submodule", "deinit", "-q", "-f", "vendor/library")
    found, problems = listed(project)
    assert problems == []
    assert found.left_out["vendor/library/"] == "a submodule that is not checked out"


@pytest.mark.parametrize("change", ["modified", "untracked", "commit"])
def test_a_dirty_submodule_is_refused(tmp_path, change):
    project = with_submodule(tmp_path)
    library = project / "vendor" / "library"
    write(library, {"new.py" if change == "untracked" else "lib.py": "2"})
    if change == "commit":
        git(library, "commit", "-q", "-a", "-m", "second")
    _, problems = listed(project)
    assert problems == ["- the submodule vendor/library has changes, or another commit than the project names"]


def test_a_repository_inside_that_is_no_submodule_stays(tmp_path):
    project = committed(tmp_path, {"a.py": "1"})
    committed(project / "other", {"b.py": "1"})
    found, _ = listed(project)
    assert sorted(found.files) == ["a.py"]
    assert "other/" in found.left_out


def test_variables_of_a_git_hook_do_not_lead_elsewhere(tmp_path, monkeypatch):
    project = committed(tmp_path / "project", {"a.py": "1"})
    other = committed(tmp_path / "other", {"b.py": "1"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    found, _ = listed(project)
    assert sorted(found.files) == ["a.py"]
    assert found.git is not None
    assert not found.git["dirty"]


def test_the_former_name_of_a_renamed_file_cannot_pose_as_a_submodule(tmp_path):
    former = "1 .M S.M. 160000 160000 160000 0 0 vendor"
    project = committed(tmp_path, {former: "content\n" * 20})
    git(project, "mv", former, "a.py")
    assert names(project) == ["a.py"]


def test_a_broken_repository_is_told_with_gits_own_words(tmp_path):
    project = committed(tmp_path, {"a.py": "1"})
    (project / ".git" / "index").write_bytes(b"nonsense")
    with pytest.raises(StorageError, match="index file"):
        listed(project)


def test_a_repository_without_git_is_not_guessed_at(tmp_path, monkeypatch):
    project = committed(tmp_path, {"a.py": "1"})
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(StorageError, match="there is no git"):
        listed(project)

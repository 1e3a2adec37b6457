"""Hooks: when they are called, in which order, and what their own failure means."""

from __future__ import annotations

import io

import pytest

from moola.errors import ConfigError, StorageError
from moola.pipelines.console import PlainConsole
from moola.pipelines.hooks import FreeDisk, Hook, HookEntry, hooks_from_config
from moola.pipelines.pipeline import Pipeline


class Note(Hook):
    """Writes down every call."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def before_stage(self, stage, context):
        self.log.append((self.name, "before", stage.name))

    def after_stage(self, stage, context):
        self.log.append((self.name, "after", stage.name, stage.provides in context.artifacts))

    def on_skip(self, stage, context):
        self.log.append((self.name, "skip", stage.name))

    def on_error(self, stage, context, error):
        self.log.append((self.name, "error", stage.name, str(error)))


class Failing(Hook):
    """Fails before each stage."""

    def before_stage(self, stage, context):
        raise ValueError("the hook broke")


def test_hooks_are_called_in_order_of_priority_and_equal_ones_as_given(fakes, fresh_context):
    log = []
    hooks = [
        HookEntry(Note(name, log), name, priority) for name, priority in [("c", 30), ("a", 10), ("b1", 20), ("b2", 20)]
    ]
    Pipeline([fakes.Letters()], hooks).run(fresh_context())
    assert [entry[:2] for entry in log] == [
        *[(name, "before") for name in ("a", "b1", "b2", "c")],
        *[(name, "after") for name in ("a", "b1", "b2", "c")],
    ]
    assert log[-1][-1] is True  # the artifact is in the context by then


def test_on_skip_is_called_for_reused_artifacts_only_and_before_after_stage(fakes, fresh_context):
    Pipeline([fakes.Letters()]).run(fresh_context())
    log = []
    Pipeline([fakes.Letters(), fakes.Large()], [HookEntry(Note("n", log))]).run(fresh_context())
    assert [entry[1:3] for entry in log] == [
        ("before", "letters"),
        ("skip", "letters"),
        ("after", "letters"),
        ("before", "large"),
        ("after", "large"),
    ]


def test_on_error_sees_the_error_which_is_raised_all_the_same(fakes, fresh_context, monkeypatch):
    def broken(self, inputs, workspace):
        raise RuntimeError("no more paper")

    monkeypatch.setattr(fakes.Large, "run", broken)
    log = []
    with pytest.raises(RuntimeError, match="no more paper"):
        Pipeline([fakes.Letters(), fakes.Large()], [HookEntry(Note("n", log))]).run(fresh_context())
    assert log[-1] == ("n", "error", "large", "no more paper")
    assert [entry for entry in log if entry[1] == "error"] == [log[-1]]


def test_a_returned_context_replaces_the_one_the_run_goes_on_with(fakes, fresh_context):
    class Replace(Hook):
        def after_stage(self, stage, context):
            if stage.name == "letters":
                other = Pipeline([fakes.Letters("xyz")]).run(fresh_context()).artifacts["letters"]
                return context.with_artifact("letters", other, reused=False)
            return None

    done = Pipeline([fakes.Letters("abc"), fakes.Large()], [HookEntry(Replace())]).run(fresh_context())
    assert done.artifacts["large"].path("large.txt").read_text() == "XYZ!"


def test_a_failing_hook_that_warns_is_logged_and_the_run_goes_on(fakes, fresh_context):
    context = fresh_context()
    log = []
    hooks = [HookEntry(Failing(), "failing", 1, "warn"), HookEntry(Note("n", log), "n", 2)]
    done = Pipeline([fakes.Letters()], hooks).run(context)
    failed = [event for event in context.events.seen if event["event"] == "hook_failed"]
    assert [(e["hook"], e["moment"], e["stage"], e["error"]) for e in failed] == [
        ("failing", "before_stage", "letters", "ValueError: the hook broke")
    ]
    assert "letters" in done.artifacts
    assert log[0] == ("n", "before", "letters")  # later hooks are called too


def test_a_failing_hook_that_raises_ends_the_run(fakes, fresh_context):
    context = fresh_context()
    with pytest.raises(ValueError, match="the hook broke"):
        Pipeline([fakes.Letters()], [HookEntry(Failing(), "failing", 1, "raise")]).run(context)
    assert fakes.calls == []
    assert [event["event"] for event in context.events.seen][-2:] == ["hook_failed", "stage_failed"]


def test_a_hook_that_ends_the_run_is_told_once_and_one_that_warns_at_once(fakes, fresh_context):
    shown = io.StringIO()
    context = fresh_context()
    context.events.listen(PlainConsole(shown))
    Pipeline([fakes.Letters()], [HookEntry(Failing(), "failing", 1, "warn")]).run(context)
    assert "hook failing failed at before_stage: ValueError: the hook broke" in shown.getvalue()
    shown.truncate(0)
    with pytest.raises(ValueError, match="the hook broke"):
        Pipeline([fakes.Letters()], [HookEntry(Failing(), "failing", 1, "raise")]).run(context)
    assert "the hook broke" not in shown.getvalue()


def test_hooks_come_from_the_configuration_with_priority_policy_and_own_keys():
    (entry,) = hooks_from_config({"free_disk": {"priority": 3, "on_failure": "raise", "min_free_gb": 2}})
    assert entry == HookEntry(FreeDisk(2.0), "free_disk", 3, "raise")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"fre_disk": {}}, "stage.hooks.fre_disk: there is no hook named 'fre_disk'; did you mean 'free_disk'?"),
        ({"free_disk": {"min_free": 1}}, r"stage.hooks.free_disk.min_free: unknown key; did you mean 'min_free_gb'\?"),
        ({"free_disk": {"on_failure": "rise"}}, "did you mean 'raise'"),
        ({"free_disk": {"min_free_gb": -1.0}}, "must not be negative"),
    ],
)
def test_a_wrong_hook_section_is_refused_with_the_near_name(section, said):
    with pytest.raises(ConfigError, match=said):
        hooks_from_config(section)


def test_free_disk_stops_before_a_stage_when_the_disk_is_nearly_full(fakes, fresh_context):
    hook = HookEntry(FreeDisk(min_free_gb=1e9), "free_disk", on_failure="raise")
    with pytest.raises(StorageError, match="GB free"):
        Pipeline([fakes.Letters()], [hook]).run(fresh_context())
    assert fakes.calls == []

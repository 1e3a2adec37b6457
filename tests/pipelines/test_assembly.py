"""From a composed configuration to the stages that run, and in which order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hydra import compose, initialize_config_dir

from moola.config import RunConfig, config_folder, from_omegaconf, structure
from moola.data.sources.public_sets import find_set
from moola.data.window_index import WindowConfig
from moola.errors import ConfigError, MissingPackageError, MoolaError
from moola.labels import LABELLERS
from moola.labels.unlabelled import Unlabelled
from moola.models import MODELS
from moola.pipelines.assembly import assemble, forced_elsewhere, inserted_elsewhere, run_identity
from moola.pipelines.stage import STAGES, Stage

DEFAULT = [
    *("ingest", "windows", "splits", "pretrain", "probe", "sentinels"),
    *("oof", "stack", "label_efficiency", "label_issues", "evaluate", "report"),
]


@dataclass(frozen=True)
class Count(Stage):
    """A stage of somebody else's."""

    by: int = 1
    name: ClassVar[str] = "count"
    provides: ClassVar[str] = "count"
    requires: ClassVar[tuple[str, ...]] = ("windows",)

    def run(self, inputs: Any, workspace: Any) -> None:
        raise NotImplementedError


@pytest.fixture
def count(monkeypatch) -> None:
    """The stage `count` is known."""
    monkeypatch.setitem(STAGES._registered, "count", Count)


@pytest.fixture(scope="module")
def config() -> Callable[..., RunConfig]:
    @functools.cache
    def make(*overrides: str) -> RunConfig:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return from_omegaconf(compose("config", list(overrides)))

    return make


def names(config: RunConfig, target: str | None = None) -> list[str]:
    return [stage.name for stage in assemble(config, target).stages]


def test_the_default_run_has_all_stages_in_order(config):
    assert names(config()) == DEFAULT


def test_a_target_brings_what_it_reads_and_nothing_else(config):
    assert names(config(), "ingest") == ["ingest"]
    assert names(config(), "pretrain") == DEFAULT[:4]
    assert names(config(), "oof") == ["ingest", "windows", "splits", "pretrain", "oof"]
    assert names(config(), "finetune") == ["ingest", "windows", "splits", "pretrain", "finetune"]
    assert names(config("stage.skip=[stack]"), "report") == [name for name in DEFAULT if name != "stack"]


def test_stages_are_skipped_and_reordered_from_configuration(config):
    assert names(config("stage.skip=[probe,stack]")) == [name for name in DEFAULT if name not in ("probe", "stack")]
    order = ["ingest", "windows", "splits", "pretrain", "oof", "label_issues", "stack", "probe", "evaluate", "report"]
    assert names(config(f"stage.order=[{','.join(order)}]")) == order


def test_an_impossible_order_is_refused(config):
    with pytest.raises(ConfigError, match="'windows' requires bars: stage 'ingest' provides it later"):
        assemble(config("stage.order=[windows,ingest]"))


def test_skipping_what_others_require_is_refused_naming_them(config):
    with pytest.raises(ConfigError, match="'probe' requires encoder: no stage provides it"):
        assemble(config("stage.skip=[pretrain]"))


def test_skipping_the_target_of_a_command_is_refused(config):
    with pytest.raises(ConfigError, match="the command needs the stage 'oof', which is switched off"):
        assemble(config("stage.skip=[oof]"), "oof")


@pytest.mark.parametrize(
    ("override", "place"), [("+stage.insert.count.after=windows", 2), ("+stage.insert.count.before=report", 11)]
)
def test_a_stage_is_inserted_after_or_before_another_with_its_own_keys(config, count, override, place):
    pipeline = assemble(config(override, "+stage.insert.count.by=5"))
    assert [stage.name for stage in pipeline.stages] == [*DEFAULT[:place], "count", *DEFAULT[place:]]
    assert pipeline.stages[place] == Count(by=5)


def test_a_stage_inserted_beside_what_a_command_runs_runs_with_it(config, count):
    after_last = config("+stage.insert.count.after=pretrain")
    assert names(after_last, "pretrain") == [*DEFAULT[:4], "count"]
    assert names(after_last, "oof") == ["ingest", "windows", "splits", "pretrain", "count", "oof"]
    assert names(config("+stage.insert.count.before=pretrain"), "pretrain") == [*DEFAULT[:3], "count", "pretrain"]
    with_windows = names(config("+stage.insert.count.after=windows"), "windows")
    assert with_windows == ["ingest", "windows", "count"]


def test_a_stage_inserted_beside_what_another_inserted_one_reads_runs_too(config, count, monkeypatch):
    attributes = {"name": "other", "provides": "other", "requires": ("probe",)}
    monkeypatch.setitem(STAGES._registered, "other", type("Other", (Count,), attributes))
    both = config("+stage.insert.count.after=probe", "+stage.insert.other.before=oof")
    assert names(both, "oof") == [*DEFAULT[:5], "count", "other", "oof"]


def test_a_stage_inserted_beside_what_a_command_leaves_out_is_told(config, count):
    chosen = config("+stage.insert.count.before=stack")
    pipeline = assemble(chosen, "pretrain")
    assert [stage.name for stage in pipeline.stages] == DEFAULT[:4]
    assert inserted_elsewhere(chosen, pipeline) == [
        "the inserted stage 'count' does not run: it stands beside 'stack', which this command leaves out"
    ]
    assert not inserted_elsewhere(chosen, assemble(chosen))
    skipped = config("+stage.insert.count.before=stack", "stage.skip=[count]")
    assert not inserted_elsewhere(skipped, assemble(skipped))


def test_a_stage_that_is_forced_where_it_does_not_run_is_told(config):
    chosen = config("force=[oof,splits]")
    told = "force=oof has no effect: this command does not run that stage"
    assert forced_elsewhere(chosen, assemble(chosen, "pretrain")) == [told]
    assert not forced_elsewhere(chosen, assemble(chosen))
    assert not forced_elsewhere(config("force=[all]"), assemble(chosen, "pretrain"))


def test_a_zone_that_the_labeller_cannot_take_is_refused_before_anything_runs(config):
    with pytest.raises(ConfigError, match=r"needs bars before the zone.*\n.*zone=\[24,60\]"):
        assemble(config("data.window.visible=60"), "finetune")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+stage.insert.count.after=window"], "stage.insert.count: .* did you mean 'windows'"),
        (["+stage.insert.count.by=2"], "needs one of after, before"),
        (["+stage.insert.count.after=windows", "+stage.insert.count.before=report"], "needs one of after, before"),
        (
            ["+stage.insert.count.after=windows", "+stage.insert.count.bye=2"],
            "count.bye: unknown key; did you mean 'by'",
        ),
        (["+stage.insert.cuont.after=windows"], "no stage named 'cuont'; did you mean 'count'"),
        (
            ["+stage.insert.finetune.after=pretrain", "+stage.insert.finetune.epochs=2"],
            "finetune.epochs: .* no keys here",
        ),
        (["stage.skip=[prob]"], "'prob' is not among the stages; did you mean 'probe'"),
        (["force=[pretran]"], "force: there is no stage named 'pretran'; did you mean 'pretrain'"),
        (["+stage.hooks.fre_disk.priority=1"], "stage.hooks.fre_disk: .* did you mean 'free_disk'"),
        (["+stage.skipp=[probe]"], "stage.skipp: unknown key; did you mean 'skip'"),
        (["+model.mine.kind=majorty"], "model.mine: there is no model named 'majorty'; did you mean 'majority'"),
        (["+model.mine=3"], "model.mine: 3 must be a group of keys"),
        (["+model.mine.c=3"], "model.mine.kind: names the model and is missing"),
    ],
)
def test_a_wrong_word_is_refused_with_its_place_and_the_near_name(config, count, overrides, said):
    with pytest.raises(ConfigError, match=said):
        assemble(config(*overrides))


def test_problems_of_all_sections_are_reported_in_one_go_and_once(config):
    wrong = {
        "data.window.length": "long",
        "split.n_folds": "1",
        "task.n_flipped": "-1",
        "encoder.hidden": "wide",
        "transform.level_scale": "x",
        "objective.patch_bars": "x",
        "trainer.pretrain.epochs": "two",
        "trainer.finetune.lr": "fast",
        "trainer.monitoring.validation_share": "2.0",
        "model.scratch.head_dropout": "x",
        "evaluation.n_resamples": "1",
        "evaluation.coverage": "1.5",
        "evaluation.calibration": "none_such",
        "stage.oof.nested": "x",
        "stage.hooks.free_disk.min_free_gb": "x",
    }
    with pytest.raises(ConfigError) as found:
        assemble(config("objective=masked_autoencoder", *(f"{key}={value}" for key, value in wrong.items())))
    assert sorted(problem.partition(":")[0] for problem in found.value.problems) == sorted(wrong)


def test_a_run_is_named_by_everything_that_can_change_a_figure_and_by_nothing_else(config):
    def name(*overrides: str) -> str:
        chosen = config(*overrides)
        return run_identity(chosen, assemble(chosen))

    same = name()
    assert same.startswith("market-")
    assert name("paths.artifacts=elsewhere", "force=[all]", "processes=2") == same
    changed = [
        "seeds=[5]",
        "encoder.hidden=8",
        "task.draw=1",
        "evaluation.n_resamples=200",
        "~model.majority",
        "stage.skip=[probe]",
        "data.symbols=[sp500]",
        "name=other",
    ]
    assert len({same, *map(name, changed)}) == len(changed) + 1


def test_hooks_of_the_configuration_reach_the_pipeline(config):
    hooks = assemble(config("stage.hooks.free_disk.min_free_gb=2.5", "~stage.hooks.encoder_naming")).hooks
    (entry,) = hooks
    assert (entry.name, entry.priority, entry.on_failure) == ("free_disk", 10, "raise")
    assert entry.hook.min_free_gb == 2.5  # type: ignore[attr-defined]


def test_a_hook_is_switched_off_by_null_as_debugging_does_with_names_of_encoders(config):
    assert not assemble(config("stage.hooks.free_disk=null", "stage.hooks.encoder_naming=null")).hooks
    for preset in ("fast", "cpu", "profile"):
        assert "encoder_naming" not in {entry.name for entry in assemble(config(f"debug={preset}")).hooks}
    back = assemble(config("debug=fast", "stage.hooks.encoder_naming={}")).hooks
    assert {entry.name for entry in back} == {"free_disk", "encoder_naming"}


def test_a_preset_that_asks_one_question_is_no_part_of_another_command(config):
    assert [stage.name for stage in assemble(config("debug=overfit")).stages][-1] == "overfit"
    with pytest.raises(ConfigError, match="'overfit' alone, and `moola pretrain` would leave it out; `moola run` asks"):
        assemble(config("debug=overfit"), "pretrain")


def test_a_tracker_that_must_be_online_and_has_no_key_is_told_before_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    chosen = config("tracker=wandb", "tracker.wandb.mode=online")
    with pytest.raises(MoolaError, match="there is no key") as found:
        assemble(chosen)
    assert found.value.exit_code == 5
    assert assemble(chosen, here=False).stages, "a pod tells nobody"


def test_stages_that_need_labels_are_refused_before_anything_runs_where_there_are_none(config):
    with pytest.raises(ConfigError) as caught:
        assemble(config("task=unlabelled"))
    needy = "probe, sentinels, oof, stack, label_efficiency, label_issues, evaluate, report"
    assert caught.value.problems == (f"task=unlabelled gives no labels, and the stages {needy} need some",)
    assert "moola pretrain" in caught.value.way_out
    with pytest.raises(ConfigError, match="the stage finetune needs some"):
        assemble(config("task=unlabelled"), "finetune")


NO_ENCODER = ("~model.finetuned", "~model.scratch", "~model.pretrained_probe", "~model.random_init_probe")
SHORT = ("data.window.visible=10", "data.window.zone=[4,10]")


def test_windows_that_do_not_suit_are_refused_before_anything_runs_with_every_problem(config):
    patches = ("encoder=patch_transformer_64x2", "encoder.patch_bars=20")
    with pytest.raises(ConfigError) as caught:
        assemble(config(*SHORT, *patches, "objective=masked_autoencoder", "objective.patch_bars=6", "task=unlabelled"))
    lack, *unfit = caught.value.problems
    assert lack.startswith("task=unlabelled gives no labels")
    assert unfit == [
        "encoder.patch_bars: 20 is more than the 10 bars of a window",
        "objective.patch_bars: 6 leaves fewer than 2 patches in 10 bars",
    ]
    for objective, said in [
        ("path_and_masks", r"objective.parts\[0\].min_bars: two spans of 8 do not fit the 10 bars"),
        ("ts_tcc", "objective.steps: 10 leaves no past in 10 bars"),
    ]:
        with pytest.raises(ConfigError, match=said):
            assemble(config(*SHORT, f"objective={objective}"), "pretrain")


def test_windows_that_no_stage_of_the_command_minds_are_cut(config):
    assert names(config(*SHORT), "windows") == ["ingest", "windows"]
    assert "oof" in names(config(*SHORT, "stage.skip=[pretrain,probe]", *NO_ENCODER))
    assert names(config("experiment=ucr", "objective=masked_autoencoder", "objective.patch_bars=9999"), "pretrain")


def test_a_gpu_that_is_not_there_is_told_before_anything_runs_where_a_stage_would_look_for_it(config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for target in (None, "pretrain", "finetune", "oof"):
        with pytest.raises(MissingPackageError, match="torch sees no GPU"):
            assemble(config("device=cuda"), target)
    assert names(config("device=cuda"), "windows") == ["ingest", "windows"]


def test_what_needs_no_labels_runs_without_them(config, count):
    assert names(config("task=unlabelled"), "pretrain") == DEFAULT[:4]
    assert names(config("task=unlabelled"), "describe") == ["ingest", "windows", "describe"]
    skipped = "stage.skip=[probe,sentinels,oof,stack,label_efficiency,label_issues,evaluate,report]"
    assert names(config("task=unlabelled", skipped, "+stage.insert.count.after=windows"))[2] == "count"


def test_a_labeller_of_another_package_is_taken_to_label(config, monkeypatch):
    class Silent(Unlabelled):
        labels_windows = True

    monkeypatch.setitem(LABELLERS._registered, "silent", Silent)
    assert names(config("task=unlabelled", "task.labels=silent")) == DEFAULT


def options(config: RunConfig) -> tuple[WindowConfig, dict[str, Any]]:
    return structure(WindowConfig, config.data["window"], "data.window"), config.data


def test_a_named_set_is_the_same_under_its_own_configuration(config):
    window, ett = options(config("data=ett"))
    assert (ett["source"], ett["name"]) == ("fetch", "ETTh1")
    assert (window.length, window.visible, window.zone) == (96, 96, (0, 96))
    window, ecg = options(config("data=ecg200"))
    assert (ecg["source"], ecg["name"]) == ("fetch", "ECG200")
    assert (window.length, window.visible, window.zone) == (None, None, None)
    for section in (ett, ecg):
        same = config("data=fetch", f"data.name={section['name']}").data
        assert {**section, "window": None} == {**same, "window": None}
        assert find_set(section["name"])


def test_a_model_that_lacks_a_part_is_refused_before_anything_runs(config, monkeypatch):
    attributes = {"deterministic": True, "role": "model", "fit": None, "__annotations__": {}}
    monkeypatch.setitem(MODELS._registered, "half", dataclass(type("Half", (), attributes)))
    with pytest.raises(ConfigError, match=r"model\.mine: Half is no whole model: it lacks needs_pretraining, uses_enc"):
        assemble(config("+model.mine={kind: half}"))


def test_a_model_must_not_be_named_as_another_is_called(config):
    with pytest.raises(ConfigError, match="'MiniRocket' is how 'minirocket' is called on pages"):
        assemble(config("+model.MiniRocket={kind: dtw}"))

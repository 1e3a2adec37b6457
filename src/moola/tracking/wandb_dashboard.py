"""A W&B dashboard as code: a workspace and a report with a panel for everything that runs tell.

What runs tell stands in their journals; where there are none yet, `USUAL` says what a whole run tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import StorageError
from moola.layout import read_json
from moola.tracking.delivery import TrackerError
from moola.tracking.journal import read_calls

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import Report
    from wandb_workspaces.workspaces import Section, Workspace

TITLE = "moola"
_SECTIONS = {
    "pretrain": "Pretraining: losses and validation",
    "probe": "Probe curves",
    "finetune": "Fine-tuning",
    "oof": "Out-of-fold training",
    "system": "Machine: processors, memory, GPUs",
}
"""First part of a series -> the section of its curves."""
_NUMBER = re.compile(r"(?<=seed|mber)\d+")
"""Of a seed or a member: curves of all of them share a panel."""
_INTERVALS = ("/low", "/high")


@dataclass
class Told:
    """Names of what runs tell.

    Attributes:
        curves: series -> names of its figures.
        summary: names of figures of the whole run.
        tables, pictures, pages: names.
    """

    curves: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    summary: set[str] = field(default_factory=set[str])
    tables: set[str] = field(default_factory=set[str])
    pictures: set[str] = field(default_factory=set[str])
    pages: set[str] = field(default_factory=set[str])

    def __bool__(self) -> bool:
        return any(vars(self).values())


USUAL = Told(
    curves={
        "pretrain/seed0": {"loss", "gradient_norm"},
        "pretrain/seed0/epochs": {"loss", "val_loss"},
        "probe/seed0": {"linear", "knn"},
        "system": {"cpu_percent", "memory_mb"},
    },
    summary={"finetuned/oof/balanced_accuracy", "finetuned/test/balanced_accuracy"},
    tables={"leaderboard", "confusion", "calibration", "reliability", "label_issues", "oof", "alarms"},
    pictures={"pictures/reconstructions", "pictures/confusion", "pictures/loss"},
    pages={"report"},
)
"""What a whole run tells at least, for a dashboard that is made before the first one."""


def told_by(folders: Iterable[Path]) -> Told:
    """Names in the journals of runs.

    Args:
        folders: of the runs.
    """
    found = Told()
    named = {"log_table": found.tables, "log_picture": found.pictures, "log_page": found.pages}
    for folder in folders:
        for call in read_calls(folder):
            if call.method == "log_figures":
                found.curves.setdefault(call.arguments["series"], set()).update(call.arguments["figures"])
            elif call.method == "log_summary":
                numbers = {name for name, value in call.arguments["figures"].items() if isinstance(value, int | float)}
                found.summary |= {name for name in numbers if not name.endswith(_INTERVALS)}
            elif call.method in named:
                named[call.method].add(call.arguments["name"])
    return found


def workspace_of(told: Told, entity: str, project: str) -> Workspace:
    """A saved view of the project: a section for each kind of thing, in the order of a run."""
    from wandb_workspaces import workspaces

    return workspaces.Workspace(entity=entity, project=project, name=TITLE, sections=_sections(told))


def report_of(told: Told, entity: str, project: str, *, connected: bool) -> Report:
    """The same panels as a report with headings.

    Args:
        told: names of what there is.
        entity: user or team.
        project: its runs are shown.
        connected: look the project up at W&B, which a report that is sent needs.
    """
    from wandb_workspaces.reports import v2
    from wandb_workspaces.reports.v2.interface import Report, Runset

    runs = Runset(entity=entity, project=project) if connected else Runset()
    blocks: list[Any] = [v2.P(text="Figures of runs of moola, with what they rest on.")]
    for section in _sections(told):
        blocks += [v2.H2(text=section.name), v2.PanelGrid(runsets=[runs], panels=list(section.panels))]
    return Report(entity=entity, project=project, title=TITLE, blocks=blocks)


def plain(told: Told, entity: str, project: str) -> dict[str, Any]:
    """Workspace and report as JSON values, as W&B's own library writes them."""
    models = {
        "workspace": workspace_of(told, entity, project)._to_model(),
        "report": report_of(told, entity, project, connected=False)._to_model(),
    }
    return {name: model.model_dump(mode="json", by_alias=True, exclude_none=True) for name, model in models.items()}


def load(path: Path) -> tuple[Workspace, Report]:
    """A dashboard that was written to a file, as the library's own types.

    Raises:
        StorageError: the file is none.
    """
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports.v2 import internal as report_models
    from wandb_workspaces.reports.v2.interface import Report
    from wandb_workspaces.workspaces import internal as workspace_models

    try:
        known = read_json(path)
        workspace = workspace_models.View.model_validate(known["workspace"])
        report = report_models.ReportViewspec.model_validate(known["report"])
        return workspaces.Workspace._from_model(workspace), Report._from_model(report)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is no dashboard", str(error), "write it again: moola wandb dashboard") from error


def publish(told: Told, entity: str, project: str) -> list[str]:
    """Save both at W&B; their addresses.

    Raises:
        TrackerError: W&B cannot be reached, or refuses.
    """
    try:
        workspace = workspace_of(told, entity, project).save()
        report = report_of(told, entity, project, connected=True)
        report.save()
    except Exception as error:  # the library raises what the server, the network and its own checks give it
        said = " ".join(str(error).split()) or type(error).__name__
        way_out = "name a project that exists and that you may write to: --entity NAME --project NAME"
        raise TrackerError(f"the dashboard of {entity}/{project} cannot be saved", said, way_out) from error
    return [str(workspace.url), str(report.url)]


def _sections(told: Told) -> list[Section]:
    from wandb_workspaces import workspaces

    named = [("Results", _results(told)), *_curves(told), ("Pictures", _media(told.pictures, "pictures"))]
    named.append(("Reports", _media(told.pages, "pages")))
    return [workspaces.Section(name=name, panels=panels, is_open=True) for name, panels in named if panels]


def _results(told: Told) -> list[Any]:
    """Tables, and a bar plot of each figure of the models."""
    from wandb_workspaces.reports import v2

    groups: dict[str, list[str]] = {}
    for name in sorted(told.summary):
        model, _, rest = name.partition("/")
        if rest.startswith(("oof/", "test/")) and model:
            groups.setdefault(rest, []).append(name)
    bars = [v2.BarPlot(title=figure, metrics=list(names)) for figure, names in sorted(groups.items())]
    tables = [v2.WeavePanelSummaryTable(table_name=f"tables/{name}") for name in _leading(told.tables, "leaderboard")]
    return [*tables, *bars]


def _leading(names: Iterable[str], first: str) -> list[str]:
    return sorted(names, key=lambda name: (name != first, name))


def _curves(told: Told) -> list[tuple[str, list[Any]]]:
    """One panel for a figure over all seeds, in the order of a run."""
    from wandb_workspaces.reports import v2

    panels: dict[str, dict[str, Any]] = {}
    for series, figures in told.curves.items():
        first = series.partition("/")[0]
        for figure in figures:
            name = f"{series}/{figure}"
            pattern = _NUMBER.sub(r"\\d+", re.escape(name).replace("\\-", "-"))
            title = re.sub(r"/(?:seed|member)\d+", "", name)
            panels.setdefault(first, {})[title] = v2.LinePlot(title=title, x=None, metric_regex=f"^{pattern}$")
    order = [*_SECTIONS, *sorted(panels.keys() - _SECTIONS.keys())]
    return [
        (_SECTIONS.get(first, first), [panels[first][title] for title in sorted(panels[first])])
        for first in order
        if first in panels
    ]


def _media(names: Iterable[str], section: str) -> list[Any]:
    from wandb_workspaces.reports import v2

    keys = [f"{section}/{name.removeprefix(f'{section}/')}" for name in sorted(names)]
    return [v2.MediaBrowser(title=key, media_keys=[key]) for key in keys]


def panel_names(workspace: Workspace) -> Mapping[str, list[str]]:
    """What each section shows: metric patterns, tables and keys of media, for people."""
    found: dict[str, list[str]] = {}
    for section in workspace.sections:
        shown = found.setdefault(section.name, [])
        for panel in section.panels:
            table = getattr(panel, "table_name", None)
            shown += [table] if table else getattr(panel, "media_keys", None) or [str(getattr(panel, "title", ""))]
    return found

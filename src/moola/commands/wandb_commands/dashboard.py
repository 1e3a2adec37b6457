"""``moola wandb dashboard``: panels for everything that runs tell, saved at W&B or written to a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from moola.commands.layout import add_artifacts
from moola.commands.wandb_commands.options import add_target, given_target, write_out
from moola.errors import EXIT_OK, ConfigError, MissingPackageError


def main(words: Sequence[str]) -> int:
    """Save the dashboard where there is a key, else write it."""
    parser = argparse.ArgumentParser(
        prog="moola wandb dashboard",
        description="Build a workspace and a report with a panel for every curve, table, picture and page that runs "
        "here told. With a key they are saved at W&B, else written to a file and checked by reading it back.",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, and send nothing")
    add_target(parser, "of the last run with tracker=wandb")
    add_artifacts(parser)
    arguments = parser.parse_args(words)
    from moola.config import structure
    from moola.tracking import wandb_dashboard as dashboard
    from moola.tracking.wandb_session import read_record
    from moola.tracking.wandb_sync import runs_to_send
    from moola.tracking.wandb_tracker import WandbTracker

    _check_package()
    folders = runs_to_send(arguments.artifacts.absolute() / "results")
    record = read_record(folders[-1]) if folders else {}
    tracker = structure(WandbTracker, given_target(arguments), "wandb")
    project = arguments.project or record.get("project") or tracker.target_project
    entity = arguments.entity or record.get("entity") or tracker.target_entity or ""
    told = dashboard.told_by(folders)
    if not told:
        told = dashboard.USUAL
        print("no run here has told W&B anything yet, so the panels are of what a run usually tells")
    account = tracker.account
    if arguments.out is None and account.key and account.mode == "online":
        if not entity:
            raise ConfigError(["--entity: is missing"], "name the user or team whose project it is: --entity NAME")
        with _signed_in(account.url, account.key):
            for address in dashboard.publish(told, entity, project):
                print(address)
        return EXIT_OK
    out = arguments.out or Path("wandb_dashboard.json")
    with _signed_in(account.url, ""):
        write_out(out, json.dumps(dashboard.plain(told, entity, project), indent=2) + "\n")
        workspace, report = dashboard.load(out)
    panels = sum(len(section.panels) for section in workspace.sections)
    print(f"{panels} panels in {len(workspace.sections)} sections, and a report of {len(report.blocks)} blocks")
    if arguments.out is None:
        print(f"no key for {account.url}, so it was written to a file; with one, the same command saves it there")
    print(out)
    return EXIT_OK


def _check_package() -> None:
    import importlib.util

    if importlib.util.find_spec("wandb_workspaces") is None:
        raise MissingPackageError("1 package is not installed", "- wandb_workspaces", "pip install 'moola[wandb]'")


def _signed_in(url: str, key: str) -> AbstractContextManager[None]:
    """W&B's library asks its environment where it is and who we are; it asks nobody else, and says nothing."""
    from moola.tracking.wandb_session import environment

    own = {"WANDB_BASE_URL": url, "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    return environment(own | ({"WANDB_API_KEY": key} if key else {}))

"""Which checks of its preflight a pod failed, and whether another pod may do better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moola.pods.provider import LENT
from moola.pods.session import RunOnPod

if TYPE_CHECKING:
    from moola.pods.running import PodRun

Check = Mapping[str, Any]
"""A finding of `moola.pods.preflight`, as the pod wrote it."""


def failed_checks(pod: RunOnPod, status: Mapping[str, Any]) -> list[Check]:
    """Findings that stand in the way of the run; none where it is not its preflight that failed."""
    if not status.get("steps", {}).get("preflight", {}).get("exit_code"):
        return []
    findings: Any = pod.read("preflight-report.json")
    found = findings if isinstance(findings, list) else []
    return [one for one in found if isinstance(one, Mapping) and one.get("ok") is False]


def spoken_check(check: Check) -> str:
    """A failed check in a line: what was found, and what to do."""
    return f"- {check.get('check')}: {check.get('said')}; {check.get('way_out')}"


def is_bad_draw(run: PodRun, status: Mapping[str, Any], failed: Sequence[Check]) -> bool:
    """Whether a rented pod did no work, and every check that it failed may pass on another."""
    rented = run.provider.can_end_itself or run.provider.name == LENT
    return rented and is_before_its_job(status) and all(check.get("elsewhere") is True for check in failed)


def is_before_its_job(status: Mapping[str, Any]) -> bool:
    """Whether a pod did no more than prepare: a first attempt, none of whose steps was the job."""
    steps = status.get("steps", {})
    return status.get("attempt") == 1 and status.get("step") != "job" and "job" not in steps

"""One study: trials are asked for, held, told and, where a worker died, tried again exactly once."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from moola.errors import MoolaError
from moola.sweeps.search.owner import BEAT_EVERY_S, Owner
from moola.sweeps.search.sampling import pruner_of, sampler_of
from moola.sweeps.search.settings import SearchSettings
from moola.sweeps.search.space import Space, Value
from moola.sweeps.search.storage import StudyStorage, require_optuna

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

Params = Mapping[str, Value]
Status = Literal["finished", "pruned", "failed", "lost", "surplus", "running", "waiting"]
COUNTED = ("finished", "pruned", "failed")
"""How trials end that count among `SearchSettings.n_trials`."""
OWNER, BEAT, RETRY_OF, DEATHS, DEFAULT = "owner", "beat", "retry_of", "deaths", "default"
ID = "moola_id"
"""Of a study: random, so that another of the same name has another."""
STATUS, WHY, COPY_OF = "status", "why", "copy_of"
"""Names of a trial's attributes."""
MOST_DEATHS = 3
"""Workers that die of the same parameters, after which these have failed."""
_POLL_S = 0.2
_SETTLES_S = 0.5
_STATUS_OF: dict[str, Status] = {
    "COMPLETE": "finished",
    "PRUNED": "pruned",
    "RUNNING": "running",
    "WAITING": "waiting",
}
"""By the name of Optuna's state; how a trial failed is its own attribute."""


class PrunedError(Exception):
    """A trial is ended early; no error of anything."""


Report = Callable[[int, float], None]
"""(step, figure so far); raises `PrunedError` where the trial is to end."""
Objective = Callable[[Params, Report], float]
"""The figure of some parameters."""


@dataclass(frozen=True)
class TrialRecord:
    """What is known of a trial.

    Attributes:
        number: from 0.
        status: ``lost``: its worker died, and another trial has its parameters; ``surplus``: begun by two machines at
            once, and left by one.
        params: by key; none for a default that lies outside the space.
        value: its figure; of a pruned one the last that was reported.
        seconds: wall time; None until it ended.
        why: of a failed one.
        is_default: whether it is the configuration as it is without the search.
        retry_of: number of the lost trial whose parameters it has.
        copy_of: number of the trial whose figure it took over, because that had the same parameters.
        worker: host and process.
        started: ISO 8601; empty where it waits.
        steps: that were reported.
    """

    number: int
    status: Status
    params: dict[str, Value]
    value: float | None
    seconds: float | None
    why: str
    is_default: bool
    retry_of: int | None
    copy_of: int | None
    worker: str
    started: str
    steps: int


@dataclass(frozen=True)
class Claimed:
    """A trial that this worker is at."""

    trial: optuna.Trial
    params: Params
    is_default: bool


class SearchStudy:
    """A study as one worker sees it.

    Args:
        storage: where it is kept.
        name: of the study.
        settings: of the search.
        owner: this worker.
        default: parameters of the configuration as it is; None where they lie outside the space.
        higher_is_better: direction of the metric.
    """

    def __init__(
        self,
        storage: StudyStorage,
        name: str,
        settings: SearchSettings,
        owner: Owner,
        default: Params | None,
        higher_is_better: bool,
    ) -> None:
        require_optuna()
        import optuna

        self.storage, self.name, self.settings, self.owner = storage, name, settings, owner
        self.higher_is_better = higher_is_better
        self._space: Space = settings.dimensions
        self._default = default
        with storage.alone():
            self.study = optuna.create_study(
                storage=storage.optuna,
                study_name=name,
                direction="maximize" if higher_is_better else "minimize",
                load_if_exists=True,
                sampler=sampler_of(settings),
                pruner=pruner_of(settings),
            )

    def begin(self) -> None:
        """Let the default be tried first, unless it was."""
        with self.storage.alone():
            self._take_back()
            states = [status_of(trial) for trial in self._trials() if DEFAULT in trial.user_attrs]
            if not any(state in ("finished", "pruned", "waiting", "running") for state in states):
                self.study.enqueue_trial(dict(self._default or {}), user_attrs={DEFAULT: True})

    def claim(self) -> Claimed | Literal["wait", "done"]:
        """The next trial; ``wait`` while others are at the last ones, for their workers may die."""
        with self.storage.alone():
            self._take_back()
            states = [status_of(trial) for trial in self._trials()]
            taken = sum(state in (*COUNTED, "running") for state in states)
            if taken >= self.settings.n_trials:
                return "wait" if "running" in states else "done"
            trial = self.study.ask()
            trial.set_user_attr(OWNER, self.owner.to_json())
            is_default = DEFAULT in trial.user_attrs
            searched = {} if is_default and self._default is None else self._space
            params = {key: dimension.suggest(trial, key) for key, dimension in searched.items()}
        claimed = Claimed(trial, params, is_default)
        if not self.storage.in_file and self._is_surplus(claimed):
            self._fail(claimed, "surplus", "another machine began the same")
            return self.claim()
        return claimed

    def run(self, claimed: Claimed, objective: Objective) -> TrialRecord:
        """Try the parameters and tell the study.

        Raises:
            MoolaError: the default failed, so that there is nothing to search from.
        """
        twin = self._twin(claimed)
        if twin is not None:
            claimed.trial.set_user_attr(COPY_OF, twin.number)
            self._tell(claimed, twin.value if twin.status == "finished" else None)
            return self.record(claimed.trial.number)
        try:
            with self._beating(claimed):
                value = objective(claimed.params, lambda step, figure: self._report(claimed, step, figure))
            if math.isnan(value):
                raise MoolaError("the figure is not a number", "the metric is not defined for what the model says")
        except PrunedError:
            self._tell(claimed, None)
        except Exception as error:
            if claimed.is_default:
                self._fail(claimed, "lost", str(error))  # the same command tries it again
                raise
            self._fail(claimed, "failed", _told(error))
        except BaseException:
            self._hand_back(claimed)
            raise
        else:
            self._tell(claimed, value)
        return self.record(claimed.trial.number)

    def records(self) -> list[TrialRecord]:
        """Every trial, by number."""
        return [_record(trial) for trial in self._trials()]

    def record(self, number: int) -> TrialRecord:
        """One of them."""
        return _record(self._trials()[number])

    def _report(self, claimed: Claimed, step: int, figure: float) -> None:
        if math.isnan(figure):
            return
        claimed.trial.report(figure, step)
        if not claimed.is_default and claimed.trial.should_prune():
            raise PrunedError

    def _trials(self) -> Sequence[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _twin(self, claimed: Claimed) -> TrialRecord | None:
        """An earlier trial of the same parameters, whose figure is known."""
        same = [trial for trial in self._trials()[: claimed.trial.number] if trial.params == claimed.params]
        known = [trial for trial in same if trial.params or DEFAULT not in trial.user_attrs]
        return next((_record(trial) for trial in known if status_of(trial) in ("finished", "pruned")), None)

    def _take_back(self) -> None:
        """Mark trials of dead workers as lost, and let their parameters be tried again, each once."""
        trials = self._trials()
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for trial in trials:
            if status_of(trial) == "running" and self._is_dead(trial):
                self._give_up(trial, again=trial.number not in retried)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if owner is None and self.storage.in_file:
            return True  # whoever begins one writes who he is before he lets others look
        return self.owner.is_dead(trial._trial_id, owner, trial.user_attrs.get(BEAT, 0))

    def _give_up(self, trial: FrozenTrial, again: bool) -> None:
        deaths = trial.user_attrs.get(DEATHS, 0) + 1
        is_default = DEFAULT in trial.user_attrs
        if deaths >= MOST_DEATHS and not is_default:
            why = f"{deaths} workers died of it, perhaps because memory runs out"
            self._end(trial._trial_id, "failed", why)
            return
        whole = is_default or set(trial.params) == set(self._space)  # else nothing was begun with them
        if whole and again:  # before the end is marked: a kill between the two must lose nothing
            attributes = {RETRY_OF: trial.number, DEATHS: deaths, **({DEFAULT: True} if is_default else {})}
            self.study.enqueue_trial(dict((self._default or {}) if is_default else trial.params), user_attrs=attributes)
        self._end(trial._trial_id, "lost", "its worker died")

    def _hand_back(self, claimed: Claimed) -> None:
        """Give the trial up because this worker is interrupted, so that others need not wait for its end."""
        with self.storage.alone():
            trial = self._trials()[claimed.trial.number]
            self._give_up(trial, again=True)

    def _is_surplus(self, claimed: Claimed) -> bool:
        records = self.records()[: claimed.trial.number + 1]
        return is_surplus(records[-1], records[:-1], self.settings.n_trials)

    def _tell(self, claimed: Claimed, value: float | None) -> None:
        """A figure, or None for a pruned trial; one that others took for dead is told by its retry."""
        from optuna.trial import TrialState

        state = None if value is not None else TrialState.PRUNED
        self.study.tell(claimed.trial, value, state=state, skip_if_finished=True)

    def _fail(self, claimed: Claimed, status: Status, why: str) -> None:
        self._end(claimed.trial._trial_id, status, why)

    def _end(self, trial_id: int, status: Status, why: str) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        storage = self.study._storage
        with contextlib.suppress(UpdateFinishedTrialError):  # another worker was faster
            storage.set_trial_user_attr(trial_id, STATUS, status)
            storage.set_trial_user_attr(trial_id, WHY, why)
            storage.set_trial_state_values(trial_id, TrialState.FAIL)

    @contextlib.contextmanager
    def _beating(self, claimed: Claimed) -> Iterator[None]:
        """Say now and then that the worker lives, while it computes."""
        over = threading.Event()

        def beat() -> None:
            count = 0
            while not over.wait(BEAT_EVERY_S):
                count += 1
                with contextlib.suppress(Exception):  # a server that is away now may be there at the next beat
                    claimed.trial.set_user_attr(BEAT, count)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def work(
    study: SearchStudy, objective: Objective, on_trial: Callable[[TrialRecord], None], deadline: float = math.inf
) -> None:
    """Try until there is nothing left to try.

    Args:
        study: as this worker sees it.
        objective: what is tried.
        on_trial: called with each trial that ended here.
        deadline: of `time.monotonic`, after which no trial is begun.

    Raises:
        MoolaError: the default failed.
    """
    while time.monotonic() < deadline:
        claimed = study.claim()
        if claimed == "done":
            return
        if claimed == "wait":
            time.sleep(_POLL_S)
        else:
            on_trial(study.run(claimed, objective))


def study_id(place: str, name: str, higher_is_better: bool) -> str:
    """What tells a study from every other of its name, wherever it lies now; the study is made where there is none.

    Args:
        place: of its storage.
        name: of the study.
        higher_is_better: direction of the metric.
    """
    with contextlib.closing(StudyStorage(place)) as storage:
        import optuna

        with storage.alone():
            direction = "maximize" if higher_is_better else "minimize"
            study = optuna.create_study(
                storage=storage.optuna, study_name=name, direction=direction, load_if_exists=True
            )
            is_new = ID not in study.user_attrs
            if is_new:
                study.set_user_attr(ID, uuid.uuid4().hex)
        if is_new and not storage.in_file:
            time.sleep(_SETTLES_S)  # another machine may have written its own at the same moment: the last one counts
        return study.user_attrs[ID]


def read_records(place: str, name: str) -> list[TrialRecord]:
    """Every trial of a study by number, for somebody who takes no part in it; none where it was never begun."""
    with contextlib.closing(StudyStorage(place)) as storage:
        import optuna

        try:
            study = optuna.load_study(study_name=name, storage=storage.optuna)
        except KeyError:
            return []
        return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def is_surplus(mine: TrialRecord, before: Sequence[TrialRecord], n_trials: int) -> bool:
    """Whether a trial that was just begun is one too many: machines that share a server cannot lock each other out.

    Each looks at the trials with lower numbers alone, and these only ever end; so of all that stay there are no more
    than wanted, whoever looks first. Who leaves one asks again.

    Args:
        mine: the trial.
        before: all with lower numbers.
        n_trials: that are wanted.
    """
    valid = [one for one in before if one.status not in ("lost", "surplus")]
    if mine.retry_of is not None and any(one.retry_of == mine.retry_of for one in before):
        return True
    return len(valid) >= n_trials or (mine.is_default and any(one.is_default for one in valid))


def status_of(trial: FrozenTrial) -> Status:
    """How far a trial is."""
    return _STATUS_OF.get(trial.state.name) or trial.user_attrs.get(STATUS, "failed")


def best_of(records: Sequence[TrialRecord], higher_is_better: bool) -> TrialRecord | None:
    """The finished trial with the best figure, the first of several; None where none is finished."""
    finished = [one for one in records if one.status == "finished" and one.value is not None]
    sign = -1 if higher_is_better else 1
    return min(finished, key=lambda one: (sign * (one.value or 0.0), one.number), default=None)


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes, status = trial.user_attrs, status_of(trial)
    owner = attributes.get(OWNER)
    last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
    return TrialRecord(
        number=trial.number,
        status=status,
        params=dict(trial.params),
        value=trial.value if status == "finished" else last if status == "pruned" else None,
        seconds=trial.duration.total_seconds() if trial.duration else None,
        why=attributes.get(WHY, ""),
        is_default=DEFAULT in attributes,
        retry_of=attributes.get(RETRY_OF),
        copy_of=attributes.get(COPY_OF),
        worker=f"{owner['host']}:{owner['pid']}" if owner else "",
        started=trial.datetime_start.isoformat(timespec="seconds") if trial.datetime_start else "",
        steps=len(trial.intermediate_values),
    )


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, MoolaError) else f"{type(error).__name__}: {error}"

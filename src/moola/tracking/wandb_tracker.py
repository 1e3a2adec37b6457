"""Weights & Biases: a run there is the run here, after a crash and from another machine too.

The number of a call in the journal is its step at W&B. W&B says which step it has, and everything after it is told from
the journal when a run is resumed, so that no point is lost and none is there twice. Offline W&B has nothing, so the
folder of an attempt is told everything, and those of attempts before it are deleted.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from moola.config import reject
from moola.errors import EXIT_ENVIRONMENT, MoolaError
from moola.layout import spoken_folder
from moola.tracking.delivery import position_of
from moola.tracking.journal import read_calls
from moola.tracking.tracker import Figure, RefusedError, TrackedArtifact, TrackedRun, Tracker
from moola.tracking.wandb_account import Account, Mode, find_account
from moola.tracking.wandb_session import NAME, Session, kept_hooks, read_record

if TYPE_CHECKING:
    from wandb import Run

DEFAULT_PROJECT = "moola"
_ODD = re.compile(r"[^A-Za-z0-9_.-]+")
_NO_PROJECT = re.compile(r"[/\\#?%:]")
_MOST_NAME = 128
"""Letters of the name of an artifact or a project at W&B."""
_ANSWER_S = 15.0
"""For one answer of the server; the client's own bounds add up to a quarter of an hour."""
_EXIT_CODES = {"finished": 0, "interrupted": 130}


class NoKeyError(MoolaError):
    """W&B is to be told online, and there is no key."""

    exit_code = EXIT_ENVIRONMENT


@dataclass
class WandbTracker(Tracker):
    """Tells W&B; online where a key is found, else offline, in a folder that is whole after every attempt.

    Attributes:
        project: None: ``WANDB_PROJECT``, else ``moola``.
        entity: user or team; None: ``WANDB_ENTITY``, else the key's own.
        mode: ``auto``, ``online``, ``offline`` or ``disabled``.
        base_url: of the server's API; None: ``WANDB_BASE_URL``, else W&B's own.
        tags: of every run, beside the run's.
        init_s: so long the server may take to take a run.
        wait_s: so long the end of a run waits for uploads.
    """

    packages: ClassVar[Mapping[str, str]] = {"wandb": "wandb", "PIL": "wandb"}

    project: str | None = None
    entity: str | None = None
    mode: Mode = "auto"
    base_url: str | None = None
    tags: tuple[str, ...] = ()
    init_s: float = 15.0
    wait_s: float = 30.0
    _run: Any = field(init=False, default=None, repr=False)
    _session: Session | None = field(init=False, default=None, repr=False)
    _is_open: bool = field(init=False, default=False, repr=False)
    _told: int = field(init=False, default=0, repr=False)
    _told_of: Path | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url or "https://none")
        reject(
            (
                parts.scheme not in ("http", "https") or not parts.netloc,
                f"base_url: '{self.base_url}' is no web address",
            ),
            (
                bool(_NO_PROJECT.search(self.project or "")) or len(self.project or "") > _MOST_NAME,
                f"project: '{self.project}' is none that W&B takes: {_MOST_NAME} letters at most, none of / \\ # ? % :",
            ),
            ("@" in parts.netloc, "base_url: holds a password; a key comes from WANDB_API_KEY or ~/.netrc"),
            (self.init_s <= 0, f"init_s: {self.init_s:g} must be above 0"),
            (self.wait_s <= 0, f"wait_s: {self.wait_s:g} must be above 0"),
            (any(not 0 < len(tag) <= 64 for tag in self.tags), "tags: W&B takes 1 to 64 letters each"),
        )

    @property
    def account(self) -> Account:
        """Where runs go, as it is now."""
        return find_account(self.mode, self.base_url)

    @property
    def target_project(self) -> str:
        """The project that runs go to."""
        return self.project or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT

    @property
    def target_entity(self) -> str | None:
        """The user or team that runs go to; None: the key's own."""
        return self.entity or os.environ.get("WANDB_ENTITY") or None

    @property
    def place(self) -> str:
        """Where the run is, for people; empty before it began and where nothing is told."""
        if self._run is None or self._session is None:
            return ""
        where = self._run.url if self._session.online else None
        return where or f"offline; `moola wandb sync {spoken_folder(self._session.run.folder)}` sends it"

    @property
    def destination(self) -> str:
        """Server, user or team, and project; offline the run folder."""
        account = self.account
        where = (account.url, self.target_entity or "", self.target_project)
        return " ".join(where) if account.mode == "online" else account.mode

    def check_here(self) -> None:
        """See `Tracker.check_here`.

        Raises:
            NoKeyError: ``mode=online``, and there is no key.
        """
        account = self.account
        if account.mode == "online" and not account.key:
            raise NoKeyError(
                "the tracker 'wandb' is to be online, and there is no key",
                f"neither WANDB_API_KEY nor ~/.netrc has one for {account.url}",
                "set WANDB_API_KEY, run `wandb login`, or leave out tracker.wandb.mode=online (WANDB_MODE)",
            )

    def still_to_do(self, folder: Path) -> str:
        """See `Tracker.still_to_do`."""
        mode = self.account.mode
        if mode == "disabled":
            return "is disabled, so it was told nothing"
        is_sent = read_record(folder).get("sent", 0) >= position_of(folder, NAME, self.destination)
        if mode == "online" or is_sent:
            return ""
        return f"written offline; `moola wandb sync {spoken_folder(folder)}` sends it"

    def start(self, run: TrackedRun) -> None:
        """See `Tracker.start`.

        Raises:
            Exception: W&B's own: it cannot be reached, or refuses.
        """
        if self._session is not None and self._session.run == run and not self._session.failed:
            return  # told twice; whatever was told in between is there
        self.abandon()
        if self._told_of != run.folder:
            self._told_of, self._told = run.folder, 0
        account = self.account
        if account.mode == "disabled":
            return
        if account.mode == "online" and not account.key:
            raise PermissionError("no key: set WANDB_API_KEY, run `wandb login`, or use tracker.wandb.mode=offline")
        session = Session(run, run.folder / "tracking" / NAME, account.mode == "online")
        self._is_open = True
        with session.alone(), kept_hooks():
            self._run = self._opened(session, account)
            atexit.unregister(self.abandon)
            atexit.register(self.abandon)  # before the client's own hook, which waits for a server that stays away
            session.there = max(self._run.step - 1, 0)  # the server says which step comes next; 0: it has none
        self._session = session
        session.keep({"id": self._run.id, "project": self._run.project, "entity": self._run.entity, "url": account.url})
        self._catch_up(session)
        session.forget_older(Path(self._run.dir).parent)

    def _catch_up(self, session: Session) -> None:
        """Tell what was told before this session, from the journal."""
        folder = session.run.folder
        last, self._told = max(position_of(folder, NAME, self.destination), self._told), 0
        for call in read_calls(folder):
            if call.number > last:
                break
            if call.method not in ("start", "finish") and not call.missing(folder):
                with contextlib.suppress(RefusedError):  # as when it was new
                    call.tell(self, folder)
        self._told = last

    def _opened(self, session: Session, account: Account) -> Run:
        import wandb

        run = session.run
        try:
            return wandb.init(
                id=session.wandb_id,
                name=run.run_id,
                project=self.target_project,
                entity=self.target_entity,
                group=run.group,
                job_type=run.job,
                tags=[*dict.fromkeys((*self.tags, *run.tags))],
                config=dict(run.config),
                dir=str(session.folder),
                resume="allow",
                settings=self._settings(account),
            )
        finally:
            os.environ.pop("WANDB_SERVICE", None)  # else every process that this one starts would join its service

    def _settings(self, account: Account) -> Any:
        """Silent, bounded in time, and nothing of the machine that sends: it may not be the one that computed."""
        import wandb

        return wandb.Settings(
            mode="online" if account.mode == "online" else "offline",
            base_url=account.url,
            api_key=account.key,
            reinit="create_new",
            init_timeout=self.init_s,
            finish_timeout=self.wait_s,
            finish_timeout_raises=True,
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=2.0,
            x_graphql_retry_max=4,
            x_graphql_timeout_seconds=_ANSWER_S,
        )

    def log_figures(self, series: str, step: int, figures: Mapping[str, float], time_s: float) -> None:
        """See `Tracker.log_figures`; ``SERIES/step`` is the x axis of ``SERIES/NAME``."""
        if session := self._news():
            axis = f"{series}/step"
            row = {f"{series}/{name}": value for name, value in figures.items()}
            with self._telling(session):
                self._define(session, axis, row)
                self._log({**row, axis: step, "_timestamp": time_s})

    def log_summary(self, figures: Mapping[str, Figure]) -> None:
        """See `Tracker.log_summary`."""
        if session := self._news():
            with self._telling(session):
                self._open_run.summary.update(dict(figures))

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> None:
        """See `Tracker.log_table`; it is ``tables/NAME``."""
        if (session := self._news()) and not self._is_there(session):
            import wandb

            data: list[Any] = [list(row) for row in rows]
            with self._telling(session):
                self._log(
                    {_under("tables", name): wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)}
                )

    def log_picture(self, name: str, svg: Path, caption: str) -> None:
        """See `Tracker.log_picture`; it is ``pictures/NAME``, in the light palette, because W&B shows no SVG."""
        if (session := self._news()) and not self._is_there(session):
            import wandb

            from moola.drawing.raster import png_file

            with self._telling(session), tempfile.TemporaryDirectory(dir=session.folder) as scratch:
                path = Path(scratch) / "picture.png"
                path.write_bytes(png_file(svg.read_text()))
                self._log({_under("pictures", name): wandb.Image(str(path), caption=caption)})

    def log_page(self, name: str, html: Path) -> None:
        """See `Tracker.log_page`; it is ``pages/NAME``."""
        if (session := self._news()) and not self._is_there(session):
            import wandb

            with self._telling(session):
                self._log({_under("pages", name): wandb.Html(html.read_text(), inject=False)})

    def log_artifact(self, artifact: TrackedArtifact) -> None:
        """See `Tracker.log_artifact`; offline, W&B takes no inputs, so lineage waits there for `moola wandb sync`."""
        if session := self._news():
            import wandb

            with self._telling(session):
                sent = wandb.Artifact(_name(artifact.name), artifact.kind, metadata=_facts(artifact))
                top = Path(os.path.commonpath([path.parent for path in artifact.files] or ["."]))
                for path in artifact.files:  # no copies: the files stay where they are
                    name = path.relative_to(top).as_posix()
                    sent.add_file(str(path), name=name, skip_cache=True, policy="immutable")
                self._open_run.log_artifact(sent, aliases=["latest", artifact.digest[:16]])
                if session.online:
                    self._use(artifact)

    def finish(self, status: str) -> None:
        """See `Tracker.finish`.

        Raises:
            TimeoutError: uploads were not done in `wait_s`.
        """
        if (session := self._session) is not None:
            with self._telling(session):
                self._open_run.finish(exit_code=_EXIT_CODES.get(status, 1))
            if session.online:
                session.keep({"sent": self.number})
            self._run, self._session, self._is_open = None, None, False

    def close(self) -> None:
        """See `Tracker.close`; online the client goes on uploading until the process ends."""
        if self._session is None or not self._session.online:
            self.abandon()

    def abandon(self) -> None:
        """Give up what was not finished: the client's service is ended, as it may be dead, or hold the run's id.

        Online it is killed, for it would try to upload for minutes; what W&B has not is told from the journal. Offline
        it has a file to end.
        """
        self._run = self._session = None
        if not self._is_open:
            return
        self._is_open = False
        import wandb
        from wandb.sdk import wandb_setup

        if self.account.mode == "online":
            with contextlib.suppress(AttributeError):  # of another version of the client, which waits then
                service = wandb_setup.singleton()._connection._proc._process  # pyright: ignore
                service.kill()
                service.wait()
        with contextlib.suppress(Exception, SystemExit):  # whatever it is, it ends here
            wandb.teardown(exit_code=1)

    @property
    def _open_run(self) -> Run:
        return self._run

    def _news(self) -> Session | None:
        """The session that this call is to be told in; None where it was told, or nothing is."""
        return None if self.number and self.number <= self._told else self._session

    def _is_there(self, session: Session) -> bool:
        """Whether W&B has the row of this call from before."""
        return 0 < self.number <= session.there

    @contextlib.contextmanager
    def _telling(self, session: Session) -> Iterator[None]:
        """What W&B's client can never take is refused; anything else is an outage, which ends the session."""
        try:
            with session.alone():
                yield
        except (TypeError, ValueError) as error:
            raise RefusedError(str(error)) from error
        except BaseException:
            session.failed = True
            raise
        self._told = max(self._told, self.number)

    def _log(self, row: Mapping[str, Any]) -> None:
        """One row of the history, unless W&B has it."""
        if self._session is not None and not self._is_there(self._session):
            self._open_run.log(dict(row), step=self.number or None)

    def _define(self, session: Session, axis: str, names: Mapping[str, Any]) -> None:
        """Say whose steps count, once a session; one by one, because a pattern would take series below as well."""
        for name in [name for name in names if name not in session.defined]:
            if axis not in session.defined:
                self._open_run.define_metric(axis, hidden=True)
            self._open_run.define_metric(name, step_metric=axis)
            session.defined.update((axis, name))

    def _use(self, artifact: TrackedArtifact) -> None:
        """What it was made from, each as an artifact that holds a digest: the same content is the same version."""
        import wandb

        for name, digest in artifact.made_from.items():
            made_from = wandb.Artifact(_name(name), "input", metadata={"digest": digest})
            with made_from.new_file("digest.txt") as handle:
                handle.write(digest)
            self._open_run.use_artifact(made_from)


def _under(section: str, name: str) -> str:
    """A key whose first part is its section among W&B's panels."""
    return f"{section}/{name.removeprefix(f'{section}/')}"


def _name(name: str) -> str:
    """A name as W&B takes it."""
    return _ODD.sub("-", name)[:_MOST_NAME]


def _facts(artifact: TrackedArtifact) -> dict[str, Any]:
    return {**artifact.facts, "digest": artifact.digest, "made_from": dict(artifact.made_from)}

"""A small W&B server on loopback: as much of its protocol as the client needs, and everything it was told."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "f" * 40


@dataclass
class FakeRun:
    """What the server has of a run."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    logged: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    exit_code: int | None = None


class FakeWandb:
    """Serves until it is closed.

    Attributes:
        runs: name -> what it was told of it.
        artifacts: id -> name, kind and metadata of a version.
        denied: answer that the project cannot be written.
    """

    def __init__(self) -> None:
        self.runs: dict[str, FakeRun] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.keys: set[str] = set()
        self.denied = False
        self.faults: list[str] = []
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _body(self) -> bytes:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

            def _answer(self) -> None:
                scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
                if scheme == "Basic":
                    fake.keys.add(base64.b64decode(value).decode().partition(":")[2])
                body = self._body()
                try:
                    with fake._lock:
                        status, answer = fake.answer(self.path, body)
                except Exception as error:  # a fault of the fake is to be seen in the test
                    status, answer = 500, {"errors": [{"message": f"the fake fails: {error!r}"}]}
                    fake.faults.append(f"{self.path}: {error!r}")
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - names of the base class

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that is killed leaves its connections as they are."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/graphql":
            asked = json.loads(body)
            [name] = re.findall(r"^\s*(?:query|mutation)\s+(\w+)", asked["query"])[:1] or ["?"]
            self.requests.append(name)
            handler = getattr(self, f"on_{name}", None)
            if handler is None:
                return 200, {"data": None, "errors": [{"message": f"the fake knows no {name}: {asked['query']}"}]}
            return handler(asked.get("variables") or {})
        if found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
            self._take_stream(self.runs[found[1]], json.loads(body))
        elif found := re.fullmatch(r"/upload/([^/]+)/(.+)", path):
            if found[1] in self.runs:
                self.runs[found[1]].files[found[2]] = body
            elif found[1] in self.artifacts:
                self.artifacts[found[1]]["files"][found[2]] = body
        return 200, {}

    def _take_stream(self, run: FakeRun, told: dict[str, Any]) -> None:
        for name, part in (told.get("files") or {}).items():
            rows = [json.loads(line) for line in part["content"]]
            if name == "wandb-history.jsonl":
                del run.history[part["offset"] :]
                run.history.extend(rows)
            elif name == "wandb-summary.json":
                run.summary = rows[-1]
        if told.get("complete"):
            run.exit_code = told.get("exitcode")

    def on_RunResumeStatus(self, v: dict[str, Any]) -> tuple[int, Any]:
        run = self.runs.get(v["name"])
        bucket = run and {
            "id": run.name,
            "name": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.name,
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }
        model = {"id": "p", "name": v["project"], "entity": {"id": "e", "name": "team"}, "bucket": bucket}
        return 200, {"data": {"model": model}}

    def on_UpsertBucket(self, v: dict[str, Any]) -> tuple[int, Any]:
        if self.denied:
            return 403, {"data": {"upsertBucket": None}, "errors": [{"message": "permission denied"}]}
        new = v["name"] not in self.runs
        run = self.runs.setdefault(v["name"], FakeRun(v["name"]))
        run.config = {**run.config, **json.loads(v.get("config") or "{}")}
        run.group = v.get("groupName") or run.group
        project = {"id": "p", "name": v.get("project") or "moola", "entity": {"id": "e", "name": "team"}}
        told = {"id": run.name, "name": run.name, "displayName": run.name, "project": project}
        rest = {"description": None, "config": None, "sweepName": None, "historyLineCount": len(run.history)}
        return 200, {"data": {"upsertBucket": {"bucket": {**told, **rest}, "inserted": new}}}

    def on_OrganizationCoreWeaveOrganizationID(self, v: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"data": {"entity": None}}

    def on_Viewer(self, v: dict[str, Any]) -> tuple[int, Any]:
        viewer = {"id": "u", "entity": "team", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        return 200, {"data": {"viewer": viewer}}

    def on_ArtifactType(self, v: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"data": {"project": {"artifact": None}}}

    def on_CreateRunFiles(self, v: dict[str, Any]) -> tuple[int, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{v['run']}/{name}"} for name in v["files"]]
        return 200, {"data": {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}}

    def on_ServerFeaturesQuery(self, v: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"data": {"serverInfo": {"features": []}}}

    def on_CreateArtifact(self, v: dict[str, Any]) -> tuple[int, Any]:
        told = v["input"]
        name = (
            told["artifactCollectionNames"][0]
            if told.get("artifactCollectionNames")
            else told["artifactCollectionName"]
        )
        known = next((id_ for id_, one in self.artifacts.items() if one["digest"] == told["digest"]), None)
        id_ = known or f"artifact{len(self.artifacts)}"
        facts = {"name": name, "kind": told["artifactTypeName"], "metadata": json.loads(told.get("metadata") or "{}")}
        one = self.artifacts.setdefault(id_, {"digest": told["digest"], "files": {}, "state": "PENDING", **facts})
        if told["runName"] in self.runs:
            self.runs[told["runName"]].logged.append(id_)
        artifact = {"id": id_, "state": one["state"], "artifactSequence": {"latestArtifact": None}}
        return 200, {"data": {"createArtifact": {"artifact": artifact}}}

    def on_CreateArtifactManifest(self, v: dict[str, Any]) -> tuple[int, Any]:
        file = {"id": "file", "uploadUrl": f"{self.url}/upload/{v['artifactID']}/{v['name']}", "uploadHeaders": []}
        return 200, {"data": {"createArtifactManifest": {"artifactManifest": {"id": "manifest", "file": file}}}}

    def on_UpdateArtifactManifest(self, v: dict[str, Any]) -> tuple[int, Any]:
        file = {"id": "file", "uploadUrl": f"{self.url}/upload/manifest/manifest.json", "uploadHeaders": []}
        return 200, {"data": {"updateArtifactManifest": {"artifactManifest": {"id": "manifest", "file": file}}}}

    def on_CreateArtifactFiles(self, v: dict[str, Any]) -> tuple[int, Any]:
        edges = []
        for spec in v["input"]["artifactFiles"]:
            url = f"{self.url}/upload/{spec['artifactID']}/{spec['name']}"
            artifact = {"id": spec["artifactID"]}
            rest = {"uploadHeaders": [], "uploadMultipartUrls": None, "storagePath": "x", "artifact": artifact}
            edges.append(
                {"node": {"id": "file", "name": spec["name"], "displayName": spec["name"], "uploadUrl": url, **rest}}
            )
        return 200, {"data": {"createArtifactFiles": {"files": {"edges": edges}}}}

    def on_CommitArtifact(self, v: dict[str, Any]) -> tuple[int, Any]:
        self.artifacts[v["artifactID"]]["state"] = "COMMITTED"
        return 200, {"data": {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": "x"}}}}

    def on_UseArtifact(self, v: dict[str, Any]) -> tuple[int, Any]:
        told = v["input"]
        id_ = told["artifactID"]
        self.runs[told["runName"]].used.append(id_)
        return 200, {"data": {"useArtifact": {"artifact": {"id": id_}}}}

    def on_ArtifactByID(self, v: dict[str, Any]) -> tuple[int, Any]:
        one = self.artifacts[v["id"]]
        project = {"id": "p", "internalId": "1", "name": "moola", "entity": {"name": "team"}}
        sequence = {"__typename": "ArtifactSequence", "name": one["name"], "project": project}
        collection = sequence
        alias = {"__typename": "ArtifactAlias", "id": "a", "alias": "latest", "artifactCollection": collection}
        nothing = dict.fromkeys(("description", "historyStep", "commitHash", "updatedAt"))
        told = {
            "__typename": "Artifact",
            "id": v["id"],
            "artifactSequence": sequence,
            "versionIndex": 0,
            "artifactType": {"name": one["kind"]},
            "metadata": json.dumps(one["metadata"]),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "tags": [],
            "state": one["state"],
            "size": 1,
            "digest": one["digest"],
            "digestAlgorithm": "MANIFEST_MD5",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00Z",
            "aliases": [alias],
            **nothing,
        }
        return 200, {"data": {"artifact": told}}

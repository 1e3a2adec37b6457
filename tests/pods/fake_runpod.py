"""RunPod's API v2 on loopback: real HTTP, pods that walk their states by a clock, and every fault a test asks for.

    with FakeRunpod(clock=clock) as fake:
        fake.plan = PodPlan(starting_s=60, fingerprints="swapped")
        fake.fault("POST", "/pods", 500, after=True)     # fails, and makes the pod all the same
        api = RunpodApi(fake.key, fake.url, clock=clock)

Requests and answers are checked against the API's specification where `spec` is given; `fake.violations` has to be
empty at the end. A pod's sshd comes from `make_sshd`, which is called once the pod runs.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from moola.pods.clock import Clock

PRINTED = "256 SHA256:" + "A" * 43 + " root@pod (ED25519)"


class Sshd(Protocol):
    """A pod's sshd: where it listens and the lines of ``ssh-keygen -lf`` for its host keys."""

    host: str
    port: int
    fingerprints: list[str]

    def close(self) -> None: ...


@dataclass
class QuietSshd:
    """Stands for an sshd that nobody connects to."""

    host: str = "127.0.0.1"
    port: int = 2222
    fingerprints: list[str] = field(default_factory=lambda: [PRINTED])

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class PodPlan:
    """How a pod behaves; seconds since it was created.

    Attributes:
        provisioning_s: until a machine is found.
        pulling_s: then, fetching the image.
        starting_s: then, starting the container.
        becomes: what it is after that.
        mapped_s: from running until the port is shown.
        stale_port: shown until the port is mapped; None: nothing is.
        sshd: ``ok``, or ``never``.
        fingerprints: what the container prints.
        vanishes_s: when it is gone, without a word.
    """

    provisioning_s: float = 10
    pulling_s: float = 20
    starting_s: float = 10
    becomes: Literal["RUNNING", "ERROR", "EXITED"] = "RUNNING"
    mapped_s: float = 5
    stale_port: int | None = None
    sshd: Literal["ok", "never"] = "ok"
    fingerprints: Literal["printed", "none", "swapped"] = "printed"
    vanishes_s: float = float("inf")


@dataclass(frozen=True)
class Fault:
    """An answer that comes instead of the true one; `after`: what was asked for is done all the same."""

    method: str
    path: str
    status: int
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    cut: bool = False


@dataclass
class FakePod:
    """A pod and what became of it."""

    pod_id: str
    body: dict[str, Any]
    plan: PodPlan
    created_at: float
    price: float
    sshd: Sshd | None = None
    ended_at: float | None = None

    def age(self, now: float) -> float:
        return now - self.created_at

    def status(self, now: float) -> str:
        plan, age = self.plan, self.age(now)
        if self.ended_at is not None or age >= plan.vanishes_s:
            return "TERMINATED"
        if age < plan.provisioning_s:
            return "PROVISIONING"
        return "STARTING" if age < self.runs_at - self.created_at else plan.becomes

    @property
    def runs_at(self) -> float:
        return self.created_at + self.plan.provisioning_s + self.plan.pulling_s + self.plan.starting_s

    def system_log(self, now: float) -> list[str]:
        plan, age = self.plan, self.age(now)
        lines = [(0.0, "create pod network")]
        pull = plan.provisioning_s
        lines += [(pull, f"create container {self.body['image']}"), (pull, "1.0.2 Pulling from runpod/pytorch")]
        lines += [(pull + plan.pulling_s, "Status: Downloaded newer image"), (pull + plan.pulling_s, "start container")]
        return [text for at, text in lines if at <= age]


@dataclass
class Gpu:
    """A GPU type of the catalogue."""

    id: str
    name: str
    memory: int
    secure: float
    community: float
    stock: dict[str, str]


GPUS = (
    Gpu("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34, {"US-KS-2": "LOW", "EU-RO-1": "HIGH"}),
    Gpu("NVIDIA RTX A5000", "RTX A5000", 24, 0.36, 0.22, {"EU-RO-1": "MEDIUM"}),
    Gpu("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 1.64, 1.19, {"US-KS-2": "HIGH"}),
    Gpu("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, 1.89, 1.39, {}),
    Gpu("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, 2.69, {"US-KS-2": "NONE"}),
)


class FakeRunpod:
    """The server; a context manager.

    Attributes:
        plan: of the next pods.
        volumes: network volumes: id -> data centre.
        pods: every pod there ever was, by id.
        requests: method and path of every request.
        violations: of the specification, by either side.
        hidden_s: how long a new pod is missing from the list.
        log_stays_open: as that of the real API, which has no end; else it ends, and nobody has to wait for silence.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        make_sshd: Callable[[FakePod], Sshd] = lambda _: QuietSshd(),
        spec: Any = None,
        key: str = "rpa_" + "0123456789ABCDEF" * 2,
    ) -> None:
        self.clock, self.key, self.plan, self.gpus = clock or Clock(), key, PodPlan(), list(GPUS)
        self._make_sshd, self._spec, self._lock = make_sshd, spec, threading.Lock()
        self.pods: dict[str, FakePod] = {}
        self.volumes: dict[str, str] = {"vol1": "EU-RO-1"}
        self.requests: list[tuple[str, str]] = []
        self.violations: list[str] = []
        self.hidden_s, self.log_stays_open = 0.0, False
        self.faults: list[Fault] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v2"

    def __enter__(self) -> FakeRunpod:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for pod in self.pods.values():
            if pod.sshd is not None:
                pod.sshd.close()

    def fault(self, method: str, path: str, status: int, detail: str = "", *, times: int = 1, **more: Any) -> None:
        """Answer the next requests whose path begins with `path` like this."""
        self.faults += [Fault(method, path, status, detail, **more)] * times

    def billing(self) -> list[FakePod]:
        """Pods that cost something now."""
        return [pod for pod in self.pods.values() if pod.status(self.clock.now()) != "TERMINATED"]

    def add(self, name: str, **more: Any) -> FakePod:
        """A pod that somebody else made."""
        body = {"name": name, "image": "runpod/pytorch", "gpu": {"id": GPUS[0].id}, "cloud": "SECURE", **more}
        return self._add(body)

    def _add(self, body: dict[str, Any]) -> FakePod:
        gpu = next(one for one in self.gpus if one.id == body["gpu"]["id"])
        price = (gpu.secure if body.get("cloud", "SECURE") == "SECURE" else gpu.community) * body["gpu"].get("count", 1)
        pod = FakePod(f"pod{len(self.pods):04}abcdef", body, self.plan, self.clock.now(), price)
        self.pods[pod.pod_id] = pod
        return pod

    # ---- one method an endpoint: (status, body) ----

    def list_gpus(self, query: Mapping[str, str]) -> tuple[int, Any]:
        if "include" in query and "product" not in query:
            return 400, "include=AVAILABILITY requires product"
        return 200, {"gpus": [_gpu_type(gpu, query.get("cloud", "SECURE")) for gpu in self.gpus]}

    def list_centers(self, query: Mapping[str, str]) -> tuple[int, Any]:
        names = sorted({name for gpu in self.gpus for name in gpu.stock})
        shared = {"region": "EUROPE", "networkVolumeTypes": [], "compliance": [], "globalNetwork": True}
        return 200, {"dataCenters": [{"id": name, "name": name, **shared} for name in names]}

    def list_volumes(self, query: Mapping[str, str]) -> tuple[int, Any]:
        about = {"name": "states", "size": 100, "type": "STANDARD"}
        return 200, {"networkVolumes": [{"id": one, "dataCenter": at, **about} for one, at in self.volumes.items()]}

    def list_pods(self, query: Mapping[str, str]) -> tuple[int, Any]:
        now = self.clock.now()
        seen = [pod for pod in self.billing() if pod.age(now) >= self.hidden_s]
        return 200, {"pods": [self._shown(pod) for pod in seen]}

    def create_pod(self, body: Any) -> tuple[int, Any]:
        if ("gpu" in body) == ("cpu" in body):
            return 400, "exactly one of gpu and cpu must be set"
        gpu = next((one for one in self.gpus if one.id == body["gpu"]["id"]), None)
        center = (body.get("dataCenterIds") or [""])[0]
        mounts = body.get("mounts", {}).get("network", [])
        if any(center != self.volumes.get(mount["volumeId"]) for mount in mounts):
            return 400, "the network volume is not in that data center"
        if gpu is None or (center and gpu.stock.get(center, "NONE") == "NONE"):
            return 400, "There are no longer any instances available with the requested specifications."
        return 201, self._shown(self._add(body))

    def get_pod(self, pod: FakePod) -> tuple[int, Any]:
        return 200, self._shown(pod)

    def change_pod(self, pod: FakePod, body: Any) -> tuple[int, Any]:
        pod.body.update(body)
        return 200, self._shown(pod)

    def delete_pod(self, pod: FakePod) -> tuple[int, Any]:
        pod.ended_at = self.clock.now()
        if pod.sshd is not None:
            pod.sshd.close()
        return 204, None

    def pod_billing(self, query: Mapping[str, str]) -> tuple[int, Any]:
        now = self.clock.now()
        shown = [pod for pod in self.pods.values() if query.get("podId", pod.pod_id) == pod.pod_id]
        records = [
            {"podId": pod.pod_id, "startTime": _iso(pod.created_at), "endTime": _iso(now), **_amounts(pod, now)}
            for pod in shown
        ]
        totals = {name: sum(one[name] for one in records) for name in _amounts_of(0.0)}
        asked = {"startTime": query["startTime"], "endTime": query["endTime"], "bucketSize": query["bucketSize"]}
        counts = {"recordCount": len(records), "uniquePodCount": len(records)}
        return 200, {"records": records, "metadata": {"query": asked, "totals": totals, **counts}}

    def log(self, pod: FakePod, source: str) -> list[str]:
        now = self.clock.now()
        if source == "system":
            return pod.system_log(now)
        if pod.status(now) != "RUNNING" or pod.plan.fingerprints == "none":
            return ["Start script(s) finished"]
        swapped = ["256 SHA256:" + "C" * 43 + " root@elsewhere (ED25519)"]
        lines = swapped if pod.plan.fingerprints == "swapped" else self._sshd(pod).fingerprints
        return ["Setting up SSH...", "Key: /etc/ssh/ssh_host_ed25519_key.pub", *lines]

    def _sshd(self, pod: FakePod) -> Sshd:
        with self._lock:
            if pod.sshd is None:
                pod.sshd = self._make_sshd(pod)
            return pod.sshd

    def _shown(self, pod: FakePod) -> dict[str, Any]:
        """A pod as the API tells of it."""
        now, status, body = self.clock.now(), pod.status(self.clock.now()), pod.body
        since = now - pod.runs_at
        port = None
        if status == "RUNNING" and pod.plan.sshd == "ok":
            port = self._sshd(pod).port if since >= pod.plan.mapped_s else pod.plan.stale_port
        where = {"host": "127.0.0.1", "port": port, "username": "root", "command": f"ssh root@127.0.0.1 -p {port}"}
        mapping = [{"private": 22, "public": port, "type": "tcp", "ip": "127.0.0.1"}] if port else []
        return {
            "id": pod.pod_id,
            "name": body["name"],
            "image": body["image"],
            "args": "",
            "disk": body.get("disk", 50),
            "ports": body.get("ports", []),
            "env": body.get("env", {}),
            "registry": None,
            "status": status,
            "actions": _ACTIONS[status],
            "mounts": body.get("mounts", {}),
            "gpu": {"id": body["gpu"]["id"], "count": body["gpu"].get("count", 1)},
            "cloud": body.get("cloud", "SECURE"),
            "dataCenterId": (body.get("dataCenterIds") or ["EU-RO-1"])[0] if status != "PROVISIONING" else None,
            "cudaVersion": "12.8",
            "ssh": {"proxy": None, "direct": where if port else None},
            "template": None,
            "cost": pod.price if status in ("PROVISIONING", "STARTING", "RUNNING") else 0.0,
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": {"uptime": int(since), "ports": mapping} if status == "RUNNING" else None,
            "createdAt": _iso(pod.created_at),
            "startedAt": _iso(pod.runs_at) if status == "RUNNING" else None,
        }


_ACTIONS = {
    "PROVISIONING": ["stop", "terminate"],
    "STARTING": ["stop", "terminate"],
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "ERROR": ["start", "terminate"],
    "TERMINATED": [],
}


def _gpu_type(gpu: Gpu, cloud: str) -> dict[str, Any]:
    order = ["NONE", "LOW", "MEDIUM", "HIGH"]
    centers = [{"id": name, "name": name, "availability": level} for name, level in gpu.stock.items()]
    return {
        "id": gpu.id,
        "name": gpu.name,
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": gpu.memory,
        "secure": gpu.secure > 0,
        "community": gpu.community > 0,
        "price": {"secure": gpu.secure, "community": gpu.community},
        "maxCount": {"secure": 8, "community": 4},
        "availability": max(gpu.stock.values(), key=order.index, default="NONE"),
        **({"dataCenters": centers} if centers else {}),
    }


def _amounts_of(usd: float) -> dict[str, float]:
    return {"totalAmount": usd, "gpuAmount": usd, "cpuAmount": 0.0, "diskAmount": 0.0}


def _amounts(pod: FakePod, now: float) -> dict[str, float]:
    until = now if pod.ended_at is None else pod.ended_at
    return _amounts_of((until - pod.created_at) / 3600 * pod.price)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _handler(fake: FakeRunpod) -> type[BaseHTTPRequestHandler]:
    """The HTTP side of a fake."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: a second one would wait for the first to be acknowledged

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
            pass

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def do_PATCH(self) -> None:
            self._serve("PATCH")

        def do_DELETE(self) -> None:
            self._serve("DELETE")

        def _serve(self, method: str) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/v2")
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.requests.append((method, path))
            if self.headers.get("Authorization") != f"Bearer {fake.key}":
                return self._answer(method, path, 401, "missing or invalid bearer token")
            fault = next((one for one in fake.faults if one.method == method and path.startswith(one.path)), None)
            if fault is not None:
                fake.faults.remove(fault)
                if not fault.after:
                    return self._fail(method, path, fault)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                status, answer = self._work(method, path, query, raw)
                if fault is not None:
                    return self._fail(method, path, fault)
                if status is not None:
                    self._answer(method, path, status, answer)
            return None

        def _work(self, method: str, path: str, query: dict[str, str], raw: bytes) -> tuple[int | None, Any]:
            body = json.loads(raw) if raw else None
            wrong = [] if fake._spec is None else fake._spec.check_request(method, path, query, body)
            if wrong:
                fake.violations += wrong
                return 422, wrong
            plain = {("GET", "/pods"): fake.list_pods, ("GET", "/catalog/gpus"): fake.list_gpus}
            plain |= {("GET", "/network-volumes"): fake.list_volumes}
            plain |= {("GET", "/catalog/datacenters"): fake.list_centers, ("GET", "/billing/pods"): fake.pod_billing}
            if (method, path) in plain:
                return plain[method, path](query)
            if (method, path) == ("POST", "/pods"):
                return fake.create_pod(body)
            found = re.fullmatch(r"/pods/([^/]+)(/logs)?", path)
            pod = fake.pods.get(unquote(found[1])) if found else None
            if found is None or pod is None or pod not in fake.billing():
                return 404, "pod not found"
            if found[2]:
                self._stream(fake.log(pod, query.get("source", "container")), int(query.get("tail", 100)))
                return None, None
            if method == "PATCH":
                return fake.change_pod(pod, body)
            return fake.get_pod(pod) if method == "GET" else fake.delete_pod(pod)

        def _stream(self, lines: list[str], tail: int) -> None:
            """The log as server-sent events."""
            after = self.headers.get("Last-Event-ID")
            numbered = list(enumerate(lines, 1))
            chosen = (
                [pair for pair in numbered if pair[0] > int(after.rpartition("/")[2])] if after else numbered[-tail:]
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for number, line in chosen:
                data = json.dumps({"ts": "2026-06-01T12:00:00Z", "source": "container", "line": line})
                self.wfile.write(f"id: 2026-06-01T12:00:00Z/{number:012}\ndata: {data}\n\n".encode())
            self.wfile.flush()
            if fake.log_stays_open:
                with contextlib.suppress(OSError):
                    self.connection.settimeout(5.0)
                    self.connection.recv(1)  # returns when the client hangs up
            self.close_connection = True

        def _fail(self, method: str, path: str, fault: Fault) -> None:
            if fault.cut:
                self.close_connection = True
                return
            self._answer(method, path, fault.status, fault.detail, fault.headers)

        def _answer(
            self, method: str, path: str, status: int, answer: Any, headers: Mapping[str, str] | None = None
        ) -> None:
            if status >= 400:
                errors = {"errors": answer} if isinstance(answer, list) else {}
                detail = "Request validation failed." if errors else answer
                answer = {"title": "Error", "status": status, "detail": detail or "failed", **errors}
            if fake._spec is not None:
                fake.violations += fake._spec.check_answer(method, path, status, answer)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

    return Handler


class FakeClock(Clock):
    """A clock that stands still between sleeps, each of which takes no time."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self.at, self.asleep_s = start, 0.0
        self.slept: list[float] = []
        super().__init__(now=lambda: self.at, sleep=self._sleep, monotonic=lambda: self.at - self.asleep_s)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def close_lid(self, seconds: float) -> None:
        """The machine sleeps: only the wall clock goes on."""
        self.at += seconds
        self.asleep_s += seconds

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


class Spec:
    """The API's specification (OpenAPI 3.1), as far as this room uses it."""

    def __init__(self, text: str) -> None:
        from jsonschema import Draft202012Validator

        self._spec = json.loads(text)
        self._validator = Draft202012Validator

    def check_request(self, method: str, path: str, query: Mapping[str, str], body: Any) -> list[str]:
        template, operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {path}: no such operation"]
        known = {
            one["name"]: one for one in map(self._resolved, operation.get("parameters", [])) if one["in"] == "query"
        }
        wrong = [f"{method} {template}: unknown query '{name}'" for name in query if name not in known]
        for name, parameter in known.items():
            if name in query:
                wrong += self._errors(parameter["schema"], self._typed(parameter, query[name]), f"{template}?{name}")
            elif parameter.get("required"):
                wrong.append(f"{method} {template}: '{name}' is missing")
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            wrong += self._errors(schema, body, f"{method} {template}")
        elif body is not None:
            wrong.append(f"{method} {template}: has no body")
        return wrong

    def check_answer(self, method: str, path: str, status: int, answer: Any) -> list[str]:
        template, operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {path}: no such operation"]
        found = operation["responses"].get(str(status), operation["responses"].get("default"))
        if found is None:
            return [f"{method} {template}: answers no {status}"]
        content = self._resolved(found).get("content", {})
        if not content:
            return [] if answer is None else [f"{method} {template}: {status} has no body"]
        kind = "application/problem+json" if status >= 400 else "application/json"
        return self._errors(content[kind]["schema"], answer, f"{status} of {method} {template}")

    def _operation(self, method: str, path: str) -> tuple[str, Any]:
        for template, item in self._spec["paths"].items():
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), f"/v2{path}") and method.lower() in item:
                return template, item[method.lower()]
        return path, None

    def _resolved(self, node: Any) -> Any:
        while "$ref" in node:
            target: Any = self._spec
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def _typed(self, parameter: Any, value: str) -> Any:
        kind = self._resolved(parameter["schema"]).get("type")
        if kind == "integer":
            return int(value) if value.isdigit() else value
        return value.split(",") if kind == "array" else value

    def _errors(self, schema: Any, value: Any, where: str) -> list[str]:
        checker = self._validator({**schema, "components": self._spec["components"]})
        return [f"{where}: {error.json_path}: {error.message}" for error in checker.iter_errors(value)]

"""What the scan for secrets finds in a planted corpus, what it lets be, and that it never says a value.

Each secret is made when it is asked for, so that no file of this repository holds one.
"""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.pods.secret_scan import TOKENS, key_file, scan_text

_LOWER_HEX, _ALNUM, _URL = (
    "0123456789abcdef",
    string.ascii_letters + string.digits,
    string.ascii_letters + string.digits + "-_",
)
_BASE64 = string.ascii_letters + string.digits + "+/"
_UPPER = string.ascii_uppercase + string.digits

Maker = Callable[[random.Random], str]


def _of(prefix: str, signs: str, n: int, suffix: str = "") -> Maker:
    return lambda draw: prefix + "".join(draw.choices(signs, k=n)) + suffix


def _line(before: str, make: Maker, after: str = "") -> Maker:
    return lambda draw: before + make(draw) + after


SHAPED: Mapping[str, Maker] = {
    "RunPod": _line('api_key = "', _of("rpa" + "_", _UPPER, 42, "a1b2c3"), '"'),
    "Hugging Face": _line("login(token='", _of("hf" + "_", string.ascii_letters, 34), "')"),
    "W&B, named": _line("WANDB_API_KEY=", _of("", _LOWER_HEX, 40)),
    "W&B, login": _line('wandb.login(key="', _of("", _LOWER_HEX, 40), '")'),
    "AWS key id": _line("aws_access_key_id = ", _of("AKI" + "A", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
    "AWS secret": _line("aws_secret_access_key = ", _of("", _BASE64, 40)),
    "GitHub classic": _line("git clone https://x:", _of("gh" + "p_", _ALNUM, 36), "@github.com/a/b"),
    "GitHub fine-grained": _line("token: ", _of("github" + "_pat_", _ALNUM + "_", 82)),
    "GitLab": _line("PRIVATE-TOKEN: ", _of("glpat" + "-", _URL, 20)),
    "Slack bot": _line("slack = '", _of("xox" + "b-", _ALNUM, 48), "'"),
    "Slack webhook": _line("curl https://hooks.slack." + "com/services/T0AB/B0CD/", _of("", _ALNUM, 24)),
    "OpenAI": _line("OPENAI_API_KEY=", _of("sk-" + "proj-", _URL, 120)),
    "Anthropic": _line("key: ", _of("sk-" + "ant-api03-", _URL, 95)),
    "Google": _line("AIza_key = '", _of("AI" + "za", _URL, 35), "'"),
    "Stripe": _line("stripe.api_key = '", _of("sk_" + "live_", _ALNUM, 24), "'"),
    "Azure storage": _line("DefaultEndpointsProtocol=https;Account" + "Key=", _of("", _BASE64, 86, "==")),
    "npm": _line("//registry.npmjs.org/:_authToken=", _of("npm" + "_", _ALNUM, 36)),
    "PyPI": _line("password = ", _of("pypi" + "-AgEIcHlwaS5vcmc", _URL, 120)),
    "SendGrid": _line("x = ", lambda draw: _of("S" + "G.", _URL, 22)(draw) + _of(".", _URL, 43)(draw)),
    "DigitalOcean": _line("do: ", _of("dop" + "_v1_", _LOWER_HEX, 64)),
    "Databricks": _line("host token ", _of("dap" + "i", _LOWER_HEX, 32)),
    "Vault": _line("vault login ", _of("hv" + "s.", _URL, 90)),
    "Telegram": _line("bot(", _of("123456789:A" + "A", _URL, 33), ")"),
    "JSON web token": _line(
        "cookie ", lambda draw: ".".join(_of(head, _URL, 60)(draw) for head in ("ey" + "J", "ey" + "J", ""))
    ),
    "private key": lambda draw: "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "PGP key": lambda draw: "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "database address": _line("DSN = 'postgresql://app:", _of("", _ALNUM, 14), "@db.example.org/x'"),
    "Twilio": _line("call ", _of("S" + "K", _LOWER_HEX, 32)),
    "Discord webhook": _line("https://discord." + "com/api/webhooks/123456789012345678/", _of("", _URL, 68)),
    "age": _line("# ", _of("AGE-SECRET" + "-KEY-1", _UPPER, 58)),
    "bearer header": _line("headers = {'Authorization': 'Bearer ", _of("", _URL, 40), "'}"),
}
"""Kind -> a line with a token of a documented shape."""
UNSHAPED: Mapping[str, Maker] = {
    "quoted password": _line('password = "', _of("", _ALNUM + "!%&?", 14), '"'),
    "password in YAML": _line("db_password: ", _of("", _ALNUM, 16)),
    "exported secret": _line("export CLIENT_SECRET=", _of("", _ALNUM, 32)),
    "JSON api key": _line('  "apiKey": "', _of("", _ALNUM, 28), '",'),
    "hex secret": _line('signing_key = "', _of("", _LOWER_HEX, 48), '"'),
    "long base64, unnamed": _line('x = "', _of("", _BASE64, 64), '"'),
    "long base64, in a call": _line("connect('", _of("", _URL, 48), "')"),
    "keyword argument": _line("client(auth_token='", _of("", _ALNUM, 24), "')"),
}
"""Kind -> a line with a value of no shape, known by its name or its signs alone."""
MISSED: Mapping[str, Maker] = {
    "word as password": lambda draw: f'password = "{draw.choice(["sunshine", "football", "princess"])}"',
    "short unnamed": _line('x = "', _of("", _ALNUM, 16), '"'),
    "hex unnamed": _line('x = "', _of("", _LOWER_HEX, 40), '"'),
    "put together": _line("key = 'rp' + 'a_' + '", _of("", _UPPER, 12), "' + rest"),
}
"""Kind -> what no scan of lines tells from harmless text; the documentation says so."""
HARMLESS = (
    'password = os.environ["DB_PASSWORD"]',
    "token = tokens[position + 1]",
    "def authorize(secret_name: str, api_key: str | None = None) -> None:",
    'API_KEY = "your-api-key-here"',
    "api_key: ${oc.env:WANDB_API_KEY}",
    "secret = get_secret('moola/production')",
    'password = ""',
    "token_embedding = nn.Embedding(vocabulary, width)",
    "url = 'https://user@host.example.org/path'",
    "git+https://github.com/facebookresearch/detectron2@0123456789abcdef0123456789abcdef01234567",
    'sha256 = "2544bbed42cb10f1cb4a0af432f80416fc145c9877aee5043bdbbccfbf38ffde"',
    "name==1.2.3 --hash=sha256:2544bbed42cb10f1cb4a0af432f80416fc145c9877aee5043bdbbccfbf38ffde",
    '"integrity": "see the lock file"',
    'uuid = "123e4567-e89b-12d3-a456-426614174000"',
    "class HierarchicalContrastiveLossWithTemporalNeighbourhoods(Objective):",
    "from moola.pipelines.report_sections.calibration_curves import draw_calibration_curves_of_models",
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "keyboard = {'ArrowLeft': previous, 'ArrowRight': following}",
    'secret_key = "<put yours here>"',
    "max_tokens: 4096",
    'password: "********"',
    "access_key = 'AKIAIOSFODNN7EXAMPLE'",
    "data/processed/unlabeled/windows-0a1b2c3d4e5f/windows_of_every_series.parquet",
    "-----BEGIN PUBLIC KEY-----",
    "ssh-ed25519 key of the host: see known_hosts",
    "postgres://localhost:5432/moola",
    "0x7fffffffffffffffffffffffffffffffffffffff",
    "token_type_ids = torch.zeros_like(input_ids)",
)
"""Lines as they stand in real projects."""

DRAWS = 50
ROOT = Path(__file__).resolve().parents[2]


def hit_rate(make: Maker) -> float:
    draw = random.Random(0)
    return sum(bool(list(scan_text("a.py", make(draw)))) for _ in range(DRAWS)) / DRAWS


@pytest.mark.parametrize("kind", SHAPED)
def test_every_token_of_a_documented_shape_is_found(kind):
    assert hit_rate(SHAPED[kind]) == 1


@pytest.mark.parametrize("kind", UNSHAPED)
def test_nearly_every_value_without_a_shape_is_found(kind):
    assert hit_rate(UNSHAPED[kind]) >= 0.9


@pytest.mark.parametrize("kind", MISSED)
def test_what_the_documentation_says_is_missed_is_missed(kind):
    assert hit_rate(MISSED[kind]) <= 0.1


@pytest.mark.parametrize("line", HARMLESS)
def test_lines_of_real_projects_are_let_be(line):
    assert list(scan_text("a.py", line)) == []


def test_nothing_in_this_repository_is_found():
    sources = [path for folder in ("src", "tests", "configs", "docs") for path in (ROOT / folder).rglob("*.*")]
    texts = [path for path in sources if path.suffix in (".py", ".yaml", ".md", ".js", ".css", ".j2", ".json")]
    assert len(texts) > 300
    found = [finding for path in texts[::3] for finding in scan_text(str(path), path.read_text())]
    assert found == []


def test_places_are_lines_and_each_rule_is_told_once_a_line():
    token = SHAPED["RunPod"](random.Random(0))
    text = f"first\n{token}\n\n{token} {token}\nlast"
    assert [(finding.line, finding.rule) for finding in scan_text("a", text)] == [(2, "RunPod key"), (4, "RunPod key")]
    assert next(scan_text("a", text)).place == "a:2"


@settings(max_examples=50)
@given(st.sampled_from([*SHAPED.values(), *UNSHAPED.values()]), st.randoms(use_true_random=False))
def test_no_finding_says_the_value(make, draw):
    line = make(draw)
    for finding in scan_text("a.py", line):
        assert not any(part in str(finding) for part in line.split() if len(part) > 16)


@given(st.text(max_size=300), st.sampled_from(list(SHAPED.values())), st.randoms(use_true_random=False))
def test_what_stands_on_other_lines_hides_nothing(text, make, draw):
    found = list(scan_text("a.py", f"{text}\n{make(draw)}\n{text}"))
    assert text.count("\n") + 2 in {finding.line for finding in found}


def test_lock_files_may_hold_digests_and_no_tokens():
    drawn = UNSHAPED["long base64, unnamed"](random.Random(0))
    assert list(scan_text("a.py", drawn))
    assert list(scan_text("uv.lock", drawn)) == []
    assert list(scan_text("uv.lock", SHAPED["RunPod"](random.Random(0))))


def test_a_file_of_one_long_line_is_read_in_time():
    for text in ("a" * 300_000, "aB3" * 100_000, "token=" * 50_000, "://a:" * 60_000, '"' * 150_000):
        started = time.process_time()
        list(scan_text("a.js", text))
        assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    "path",
    [
        *(".env", "sub/.env.local", "prod.env", "keys/id_ed25519", "server.PEM", "tls.key", ".netrc", "x/.pypirc"),
        *("home/.aws/credentials", ".ssh/config", ".kube/config", ".runpod/config.toml", "kaggle.json"),
        *("service-account-prod.json", "secrets.yaml", "terraform.tfstate", ".git-credentials", "store.p12"),
    ],
)
def test_files_of_keys_are_known_by_their_names(path):
    finding = key_file(path)
    assert finding is not None
    assert (finding.path, finding.line) == (path, None)


@pytest.mark.parametrize(
    "path", [".env.example", "id_ed25519.pub", "src/secrets.py", "environment.yml", "keys.py", "docs/credentials.md"]
)
def test_other_names_are_let_be(path):
    assert key_file(path) is None


def test_every_rule_of_a_shape_is_met_by_the_corpus():
    draw = random.Random(0)
    lines = "\n".join(make(draw) for make in SHAPED.values())
    met = {finding.rule for finding in scan_text("a", lines)}
    assert met == set(TOKENS)


def table(corpus: Mapping[str, Maker]) -> dict[str, float]:
    return {kind: hit_rate(make) for kind, make in corpus.items()}


def test_the_documentation_says_the_rates_that_are_measured():
    page = (ROOT / "docs" / "pods-security.md").read_text()
    for corpus in (SHAPED, UNSHAPED, MISSED):
        for kind, rate in table(corpus).items():
            assert f"| {kind} | {rate:.0%} |" in page

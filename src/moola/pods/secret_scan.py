"""Secrets in files that are to travel: names of key files, shapes of tokens, and values that look drawn by chance.

The shapes are the prefixes that issuers document for their tokens, which is what the rules of gitleaks and GitHub's own
scanner rest on. Libraries were measured against the planted corpus of the tests, see ``docs/pods-security.md``.
A finding says where and by which rule, never the value.
"""

from __future__ import annotations

import bisect
import fnmatch
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

_KEY_FILES = (
    *(".env", ".env.*", "*.env", ".envrc"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk", "ssh_host_*_key"),
    *("*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.asc", "*.gpg"),
    *(".netrc", "_netrc", ".pypirc", ".git-credentials", ".pgpass", ".my.cnf", ".htpasswd", ".vault-token"),
    *(".dockercfg", ".dockerconfigjson", ".s3cfg", ".boto", ".terraformrc", "*.tfstate", "*.tfvars"),
    *("kubeconfig", "kaggle.json", "credentials", "credentials.json", "client_secret*.json"),
    *("service-account*.json", "service_account*.json", "application_default_credentials.json"),
    *("secrets.json", "secrets.toml", "secrets.yaml", "secrets.yml", "secrets.ini", ".secrets"),
)
_KEY_PLACES = (".aws/*", ".ssh/*", ".gnupg/*", ".kube/config", ".docker/config.json", ".runpod/*", ".config/gcloud/*")
_LOCK_FILES = (".lock", "-lock.json", "-lock.yaml", ".sum")
"""Full of digests, so that entropy says nothing there."""
_HARMLESS_NAMES = ("*.example", "*.sample", "*.template", "*.dist", "*.pub", ".env.*.example")

TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
        "RunPod key": r"\brpa_[A-Z0-9]{30,}[a-z0-9]{0,8}\b",
        "Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}\b",
        "Weights & Biases key": r"\bwandb_v1_[A-Za-z0-9_-]{40,}"
        r"|(?i:wandb(?:[a-z_]{0,16}|\.login\([ \t]{0,3}key)[\"']?[ \t]{0,3}[:=,(][ \t]{0,3}[\"']?)[0-9a-f]{40}\b",
        "AWS key id": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
        "AWS secret key": r"(?i:aws[a-z_.]{0,12}secret[a-z_]{0,16}[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?)"
        r"[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/])",
        "GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{50,}",
        "GitLab token": r"\bgl(?:pat|dt|ptt|rt|cbt|soat|ft)-[A-Za-z0-9_-]{20,}",
        "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-\d-[A-Za-z0-9-]{20,}"
        r"|hooks\.slack\.com/services/T\w+/B\w+/\w{16,}",
        "OpenAI key": r"\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{32,}|\bsk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}\b",
        "Anthropic key": r"\bsk-ant-[a-z0-9]+-[A-Za-z0-9_-]{32,}",
        "Google key": r"\bAIza[A-Za-z0-9_-]{35}|\bya29\.[A-Za-z0-9_-]{30,}|\bGOCSPX-[A-Za-z0-9_-]{28}",
        "Stripe key": r"\b[rs]k_(?:live|test|prod)_[A-Za-z0-9]{16,}",
        "Azure key": r"(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{43,}={0,2}",
        "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
        "PyPI token": r"\bpypi-AgE[A-Za-z0-9_-]{40,}",
        "SendGrid key": r"\bSG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}",
        "Twilio key": r"\bSK[0-9a-f]{32}\b",
        "DigitalOcean token": r"\bdo[opr]_v1_[0-9a-f]{64}\b",
        "Databricks token": r"\bdapi[0-9a-f]{32}\b",
        "Vault token": r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}",
        "Telegram token": r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])",
        "Discord webhook": r"discord(?:app)?\.com/api/webhooks/\d{15,}/[A-Za-z0-9_-]{50,}",
        "age key": r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b",
        "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}",
        "password in an address": r"\b[a-z][a-z0-9+.-]{1,15}://[^\s:/@'\"<>{}$*]{1,64}:[^\s:/@'\"<>{}$*]{4,128}@[\w.-]",
        "authorization header": r"(?i:authorization[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?"
        r"(?:bearer|basic|token)[ \t]{1,3})[A-Za-z0-9_.+/=-]{20,}",
    }
)
"""Rule -> regular expression of what it finds, within a line."""
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "private key": "-----begin",
        "RunPod key": "rpa_",
        "Hugging Face token": "hf_ api_org_",
        "Weights & Biases key": "wandb",
        "AWS key id": "akia asia abia acca",
        "AWS secret key": "aws",
        "GitHub token": "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        "GitLab token": "glpat- gldt- glptt- glrt- glcbt- glsoat- glft-",
        "Slack token": "xox xapp- hooks.slack",
        "OpenAI key": "sk-",
        "Anthropic key": "sk-ant-",
        "Google key": "aiza ya29. gocspx-",
        "Stripe key": "k_live_ k_test_ k_prod_",
        "Azure key": "accountkey= sharedaccesskey=",
        "npm token": "npm_",
        "PyPI token": "pypi-age",
        "SendGrid key": "sg.",
        "Twilio key": "sk",
        "DigitalOcean token": "_v1_",
        "Databricks token": "dapi",
        "Vault token": "hvs. hvb. hvr.",
        "Telegram token": ":aa",
        "Discord webhook": "/api/webhooks/",
        "age key": "age-secret-key-",
        "JSON web token": "eyj",
        "password in an address": "://",
        "authorization header": "authorization",
    }
)
"""Rule -> words in small letters, one of which has to be in a text: most texts are done with after these."""
_TELLING = (
    "pass(?:word|wd|phrase)?|pwd|secret|token|credential|(?:api|access|auth|private|signing|account|encryption)[_-]?key"
)
_ASSIGNED = re.compile(
    rf"(?i:(?:{_TELLING})[a-z0-9_.-]{{0,24}})[\"']?[ \t]{{0,3}}(?::=|[:=]|=>)[ \t]{{0,3}}"
    r"(?P<quote>[\"']?)(?P<value>[^\s\"'#,;()\[\]{}<>]{8,256})(?P<closed>[\"']?)"
)
"""A name that speaks of a secret, and the value it gets."""
_LONG = re.compile(r"(?<![A-Za-z0-9+/_=.-])[A-Za-z0-9+/_-]{32,256}={0,2}(?![A-Za-z0-9+/_=.-])")
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F-]+")
_DIGEST = re.compile(r"[0-9a-f]{32,}")
_LONG_SIGNS = 32
_PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|changeme|change_me|your[_-]|dummy|redacted|xxxx|\.\.\.|\*\*\*|^(.)\1+$|^[$%]"
)
_ASSIGNED_BITS, _ASSIGNED_CODE_BITS, _LONG_BITS = 3.0, 3.5, 4.5
"""Shannon entropy per sign from which a value counts: quoted, unquoted, without a telling name."""


@dataclass(frozen=True, order=True)
class Finding:
    """Something that must not travel unseen.

    Attributes:
        path: of the file, relative to the project; ``overrides`` for the command line.
        line: counted from 1; None where the whole file is meant.
        rule: what it looks like, in words; never what it is.
    """

    path: str
    line: int | None
    rule: str

    @property
    def place(self) -> str:
        """``PATH:LINE``, or ``PATH`` alone."""
        return self.path if self.line is None else f"{self.path}:{self.line}"


def key_file(path: str) -> Finding | None:
    """The finding that a file's name alone makes, whatever is in it."""
    name = PurePosixPath(path).name.lower()
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _HARMLESS_NAMES):
        return None
    lowered = f"/{path.lower()}"
    named = any(fnmatch.fnmatchcase(name, pattern) for pattern in _KEY_FILES)
    placed = any(fnmatch.fnmatchcase(lowered, f"*/{pattern}") for pattern in _KEY_PLACES)
    return Finding(path, None, "a file of keys or passwords, by its name") if named or placed else None


def scan_text(path: str, text: str) -> Iterator[Finding]:
    """What in a text looks like a secret, at most once a line and rule.

    Args:
        path: for the findings.
        text: of the whole file.
    """
    met: dict[int, set[str]] = {}
    lowered = text.lower()
    for rule in [rule for rule, words in _WORDS.items() if any(word in lowered for word in words.split())]:
        for found in re.finditer(TOKENS[rule], text):  # one by one: joined, they are three times as slow
            if not _PLACEHOLDER.search(found[0]):
                met.setdefault(found.start(), set()).add(rule)
    if not PurePosixPath(path).name.lower().endswith(_LOCK_FILES):
        for rule, starts in _by_chance(text).items():
            for start in starts:
                met.setdefault(start, set()).add(rule)
    ends = [found.start() for found in re.finditer("\n", text)] if met else []
    by_line: dict[int, set[str]] = {}
    for start, rules in met.items():
        by_line.setdefault(bisect.bisect_left(ends, start) + 1, set()).update(rules)
    for line, rules in sorted(by_line.items()):
        yield from (Finding(path, line, rule) for rule in sorted(rules & TOKENS.keys() or rules))


def _by_chance(text: str) -> dict[str, list[int]]:
    """Places of values without a known shape."""
    return {
        "a value that looks secret, by its name": [
            found.start("value") for found in _ASSIGNED.finditer(text) if _is_secret_value(found)
        ],
        "a value that looks drawn by chance": [
            found.start() for found in _LONG.finditer(text) if _looks_drawn(found[0])
        ],
    }


def _is_secret_value(found: re.Match[str]) -> bool:
    """Whether the right side is a literal value rather than code, a word or a placeholder."""
    value, quoted = found["value"], bool(found["quote"]) and found["quote"] == found["closed"]
    if _PLACEHOLDER.search(value) or _is_prose(value):
        return False
    if quoted:
        return _bits(value) >= _ASSIGNED_BITS and not value.startswith(("/", "./", "http://", "https://"))
    has_both = any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value)
    return has_both and _bits(value) >= _ASSIGNED_CODE_BITS and not re.search(r"[.=:]|__|/", value)


def _is_prose(value: str) -> bool:
    """Words and nothing else, as in names of variables, files and messages."""
    return all(
        part.isalpha() and (part.islower() or part.isupper() or part.istitle())
        for part in re.split(r"[\s_./:-]+", value)
        if part
    )


def _looks_drawn(value: str) -> bool:
    """Capitals, small letters and digits in no order; digests and ids in hex are no secrets by themselves."""
    value = _DIGEST.sub("", value)
    classes = (str.isupper, str.islower, str.isdigit)
    if (
        len(value) < _LONG_SIGNS
        or _HEX.fullmatch(value)
        or not all(any(map(kind, value)) for kind in classes)
        or _PLACEHOLDER.search(value)
    ):
        return False
    return _bits(value) >= _LONG_BITS and not _reads_like_words(value)


def _reads_like_words(value: str) -> bool:
    """Most of it is runs of letters of one case, as in CamelCaseNames and paths/of/files."""
    runs = re.findall(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}", value)
    return sum(map(len, runs)) > len(value) * 0.6


def _bits(value: str) -> float:
    """Shannon entropy of the signs of a value, bits a sign."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())

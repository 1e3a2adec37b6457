"""Calibration of class probabilities: fitted on held-out predictions of a fold, applied to what comes later.

Kinds, from the stiffest to the most flexible:

- ``none``: nothing is changed;
- ``temperature``: softmax(log(p) / T), one number for all classes (Guo et al. 2017, ICML);
- ``beta``: logit q = a log p - b log(1 - p) + c with a, b >= 0, for each class against the rest
  (Kull, Silva Filho & Flach 2017, AISTATS);
- ``isotonic``: the rising step function nearest to the labels, for each class against the rest
  (Zadrozny & Elkan 2002, KDD).

One-vs-rest outcomes are divided by their sum. Temperature never changes which class is the most likely; beta and
isotonic may, and with it the accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from moola.errors import ConfigError, DataError, did_you_mean
from moola.evaluation.weighted import FloatArray, IntArray, check_predictions

Kind = Literal["none", "temperature", "beta", "isotonic"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LABELS_NEEDED: Mapping[Kind, int] = MappingProxyType({"isotonic": 50, "beta": 15, "temperature": 5, "none": 0})
"""Labels of each class below which a kind learns noise; then the next stiffer kind is taken."""
FLOOR = 1e-7
"""Smaller probabilities count as this where their logarithm is taken."""
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Calibrator:
    """A fitted calibration.

    Attributes:
        kind: what is applied.
        asked: what was asked for.
        n_classes: classes of the probabilities.
        parameters: ``temperature`` [1]; ``a``, ``b``, ``c`` [n_classes]; or ``x0``, ``y0``, ``x1``, ... the corners
            of each class's function.
        note: why `kind` is not what was asked for; else "".
    """

    kind: Kind
    asked: Kind
    n_classes: int
    parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    note: str = ""

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Calibrated probabilities of the same shape [..., n_classes].

        Raises:
            DataError: another number of classes.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        if p.ndim == 0 or p.shape[-1] != self.n_classes:
            why = f"they have shape {p.shape}, the calibration was fitted on {self.n_classes} classes"
            raise DataError("probabilities cannot be calibrated", why, "use predictions of the same model")
        if self.kind == "none":
            return p.copy()
        if self.kind == "temperature":
            return _tempered(p, self.parameters["temperature"][0])
        each = np.stack([self._of_class(p[..., k], k) for k in range(self.n_classes)], axis=-1)
        total = each.sum(axis=-1, keepdims=True)
        return np.where(total > 0, each / np.where(total > 0, total, 1.0), p)

    def _of_class(self, p: FloatArray, k: int) -> FloatArray:
        """Probability of one class against the rest."""
        if self.kind == "isotonic":
            return np.interp(p, self.parameters[f"x{k}"], self.parameters[f"y{k}"])
        a, b, c = (self.parameters[name][k] for name in "abc")
        up, down = _logs(p)
        return 1 / (1 + np.exp(-(a * up + b * down + c)))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; `from_json` gives an equal calibrator back."""
        return {
            "kind": self.kind,
            "asked": self.asked,
            "n_classes": self.n_classes,
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "note": self.note,
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Calibrator:
        """Read what `to_json` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            kind, asked, n_classes = written["kind"], written["asked"], int(written["n_classes"])
            parameters = {name: tuple(map(float, values)) for name, values in written["parameters"].items()}
            read = cls(kind, asked, n_classes, parameters, str(written["note"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise DataError("the calibration cannot be read", why, "fit it again") from error
        if problems := read.problems():
            raise DataError("the calibration cannot be read", "; ".join(problems), "fit it again")
        return read

    def problems(self) -> list[str]:
        """What in it does not fit together."""
        found = [
            f"kind '{kind}' is none of {', '.join(KINDS)}" for kind in (self.kind, self.asked) if kind not in KINDS
        ]
        if self.n_classes < 2:
            found.append(f"n_classes is {self.n_classes}")
        wanted = {
            "temperature": {"temperature": 1},
            "beta": dict.fromkeys("abc", self.n_classes),
            "isotonic": {f"{axis}{k}": None for k in range(self.n_classes) for axis in "xy"},
        }.get(self.kind, {})
        if set(self.parameters) != set(wanted):
            found.append(f"parameters are {sorted(self.parameters)}, not {sorted(wanted)}")
            return found
        for name, values in self.parameters.items():
            length = wanted[name] or len(self.parameters["x" + name[1:]])
            if len(values) != length or not len(values) or not np.isfinite(values).all():
                found.append(f"{name} is {list(values)[:5]}, not {length} finite numbers")
        return found


def fit_calibrator(kind: Kind, probabilities: FloatArray, labels: IntArray) -> Calibrator:
    """Fit a calibration on predictions for windows that the model did not learn from.

    Args:
        kind: one of `KINDS`; a stiffer one is taken, and noted, when a class has too few labels for it
            (`LABELS_NEEDED`).
        probabilities: [n_windows, n_classes].
        labels: int [n_windows].

    Raises:
        ConfigError: the kind is unknown.
        DataError: the arrays are not probabilities and labels.
    """
    if kind not in KINDS:
        raise ConfigError([f"calibration '{kind}' is unknown: {did_you_mean(kind, KINDS)}"])
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2:
        why = f"probabilities have shape {p.shape}, not [n_windows, n_classes]"
        raise DataError("no calibration can be fitted", why, "give the predictions of one seed")
    check_predictions(p[None], y)
    counts = np.bincount(y, minlength=p.shape[1])
    stiffer: tuple[Kind, ...] = KINDS[: KINDS.index(kind) + 1]
    taken: Kind = next(known for known in reversed(stiffer) if counts.min() >= LABELS_NEEDED[known])
    note = ""
    if taken != kind:
        few = f"class {int(counts.argmin())} has {int(counts.min())}"
        note = f"{kind} calibration needs {LABELS_NEEDED[kind]} labels of each class, {few}: {taken} is used"
    fitted = {"none": _no_parameters, "temperature": _temperature, "beta": _beta, "isotonic": _isotonic}[taken](p, y)
    return Calibrator(taken, kind, p.shape[1], fitted, note)


def _no_parameters(p: FloatArray, y: IntArray) -> dict[str, tuple[float, ...]]:
    return {}


def _tempered(p: FloatArray, temperature: float) -> FloatArray:
    logits = np.log(np.maximum(p, FLOOR)) / temperature
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _temperature(p: FloatArray, y: IntArray) -> dict[str, tuple[float, ...]]:
    """The temperature of least log loss; perfect or hopeless predictions stop at a limit of `TEMPERATURES`."""
    from scipy.optimize import minimize_scalar

    def log_loss(log_temperature: float) -> float:
        of_truth = _tempered(p, float(np.exp(log_temperature)))[np.arange(len(y)), y]
        return -float(np.log(np.maximum(of_truth, FLOOR)).mean())

    low, high = np.log(TEMPERATURES)
    found: Any = minimize_scalar(log_loss, bounds=(low, high), method="bounded")
    return {"temperature": (float(np.exp(found.x)),)}


def _logs(p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log p and -log(1 - p)."""
    inside = np.clip(p, FLOOR, 1 - FLOOR)
    return np.log(inside), -np.log1p(-inside)


def _beta(p: FloatArray, y: IntArray) -> dict[str, tuple[float, ...]]:
    found = [_beta_of_class(p[:, k], y == k) for k in range(p.shape[1])]
    return {name: tuple(values) for name, values in zip("abc", zip(*found, strict=True), strict=True)}


def _beta_of_class(p: FloatArray, positive: np.ndarray) -> tuple[float, float, float]:
    """A logistic regression on log p and -log(1 - p) without what gets a negative coefficient, as in the paper."""
    from sklearn.linear_model import LogisticRegression

    features, used = np.stack(_logs(p), axis=1), [0, 1]
    coefficients = np.zeros(2)
    while True:
        # C is finite for labels that the model splits without an error; it is weak beside a few dozen labels.
        model = LogisticRegression(C=1e3, max_iter=1000).fit(features[:, used], positive)
        if (model.coef_[0] >= 0).all():
            coefficients[used] = model.coef_[0]
            return float(coefficients[0]), float(coefficients[1]), float(model.intercept_[0])
        used = [one for one, value in zip(used, model.coef_[0], strict=True) if value >= 0]
        if not used:  # the model ranks the class the wrong way round: its share is all that is known
            share = positive.mean()
            return 0.0, 0.0, float(np.log(share / (1 - share)))


def _isotonic(p: FloatArray, y: IntArray) -> dict[str, tuple[float, ...]]:
    """Corners of each class's function; its ends stop at 1 / (n + 2), for n labels show no certainty."""
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(y) + 2)
    corners: dict[str, tuple[float, ...]] = {}
    for k in range(p.shape[1]):
        model = IsotonicRegression(y_min=least, y_max=1 - least).fit(p[:, k], y == k)
        corners[f"x{k}"] = tuple(map(float, model.X_thresholds_))
        corners[f"y{k}"] = tuple(map(float, model.y_thresholds_))
    return corners

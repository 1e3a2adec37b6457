"""The verdict: exactly three sentences, made from figures.

1. did pretraining help; 2. which honest model is best and whether it beats the simple thing; 3. what must
not be concluded. Where a piece is missing the sentence says that it is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moola.evaluation.alarms import TEST_BASED
from moola.evaluation.comparison import excludes_zero, plain, signed
from moola.evaluation.estimates import Alarm, Estimate


@dataclass(frozen=True)
class Candidate:
    """One model in one metric.

    Attributes:
        name: the model.
        oof, test: figure out of fold on the labels as given (it makes the choice; no truth may that a user does not
            have) and on the sealed test; None if not scored.
        is_control: a control or simple baseline, which cannot be the best model but must be beaten.
    """

    name: str
    oof: Estimate | None = None
    test: Estimate | None = None
    is_control: bool = False


@dataclass(frozen=True)
class VerdictInputs:
    """What the verdict is made from, all in one metric; whatever does not exist is left at its default.

    Attributes:
        n_labels, n_seeds, n_draws: labels given to fine-tuning, seeds of training, draws of the labels (0 when
            every label there is was given).
        metric, higher_is_better: label and direction of the metric.
        models: all models, controls among them.
        differences: (model, other) -> paired difference on the sealed test, model minus other.
        fine_tuned, scratch: names of the pretrained network and of its untrained twin; "" if there is none.
        why_missing: why a comparison is missing, e.g. "the stage 'finetune' was switched off".
        alarms, n_checks: all that fired, of how many checks.
        n_test: windows in the sealed test; 0 when there is none.
        stretches: independent stretches of time in it; None for cases independent of each other.
        transductive: the encoder saw the inputs (never the labels) of held-out folds.
    """

    n_labels: int
    n_seeds: int
    n_draws: int
    metric: str = "balanced accuracy"
    higher_is_better: bool = True
    models: Sequence[Candidate] = ()
    differences: Mapping[tuple[str, str], Estimate] = field(default_factory=dict)
    fine_tuned: str = ""
    scratch: str = ""
    why_missing: str = ""
    alarms: Sequence[Alarm] = ()
    n_checks: int = 0
    n_test: int = 0
    stretches: float | None = None
    transductive: bool = False


def verdict(inputs: VerdictInputs) -> tuple[str, str, str]:
    """The three sentences: did pretraining help, what is best, what must not be concluded."""
    return _did_pretraining_help(inputs), _best_model(inputs), _how_sure(inputs)


def choose_best(inputs: VerdictInputs, controls: bool = False) -> Candidate | None:
    """The best model out of fold that stands under no alarm; with `controls`, the best control.

    Neither the sealed test nor an alarm that rests on its labels takes part, else the test would have chosen
    the model that it then scores.
    """
    barred = {a.model for a in _barring(inputs)}
    own = [m for m in inputs.models if m.is_control == controls and m.name not in barred]
    scored = [(m.oof.value, m) for m in own if m.oof and math.isfinite(m.oof.value)]
    sign = 1 if inputs.higher_is_better else -1
    return max(scored, key=lambda pair: sign * pair[0])[1] if scored else None


def _barring(inputs: VerdictInputs) -> list[Alarm]:
    """Alarms that keep a model from being chosen: those that the sealed test has no part in."""
    return [a for a in _discrediting(inputs) if a.split != "test"]


def _discrediting(inputs: VerdictInputs) -> list[Alarm]:
    """Alarms that take the worth from a model's figures, wherever its predictions collapsed."""
    return [a for a in inputs.alarms if a.severity == "alarm" and a.code not in TEST_BASED]


def _difference(inputs: VerdictInputs, model: str, other: str) -> Estimate | None:
    return inputs.differences.get((model, other)) if inputs.n_test else None


def _outcome(difference: Estimate, higher_is_better: bool) -> int:
    """1 if the first model is better, -1 if worse, 0 if the interval cannot tell."""
    better = 1 if (difference.value > 0) == higher_is_better else -1
    return better if excludes_zero(difference) else 0


def _did_pretraining_help(inputs: VerdictInputs) -> str:
    parts = [_count(inputs.n_labels, "label"), _count(inputs.n_seeds, "seed")]
    if inputs.n_draws:
        parts.append(f"{_count(inputs.n_draws, 'draw')} of labels")
    basis = f"{', '.join(parts[:-1])} and {parts[-1]}"
    difference = _difference(inputs, inputs.fine_tuned, inputs.scratch)
    if difference is None:
        return f"Whether pretraining helped cannot be said, because {_why_no_difference(inputs)} ({basis})."
    for a in _discrediting(inputs):
        if a.model in (inputs.fine_tuned, inputs.scratch):
            return (
                f"Whether pretraining helped cannot be said, because {a.model} stands under the alarm "
                f"{a.code}; the difference would read {signed(difference)} ({basis})."
            )
    at_chance = {a.model for a in inputs.alarms if a.code == "not_better_than_chance"}
    if {inputs.fine_tuned, inputs.scratch} <= at_chance:
        return (
            f"Whether pretraining helped cannot be said, because neither {inputs.fine_tuned} nor {inputs.scratch} is "
            f"shown to be better than chance; the difference would read {signed(difference)} ({basis})."
        )
    words = {1: "helped", -1: "hurt", 0: "made no difference that this test can show"}
    said = words[_outcome(difference, inputs.higher_is_better)]
    direction = "" if inputs.higher_is_better else ", where lower is better,"
    return (
        f"Pretraining {said} ({signed(difference)}): this is {inputs.fine_tuned} minus {inputs.scratch} "
        f"in {inputs.metric}{direction} on the sealed test, from {basis}."
    )


def _why_no_difference(inputs: VerdictInputs) -> str:
    if inputs.why_missing:
        return inputs.why_missing
    if not inputs.n_test:
        return "there is no sealed test"
    if not (inputs.fine_tuned and inputs.scratch):
        return f"there is no {'scratch' if inputs.fine_tuned else 'fine-tuned'} model"
    return f"{inputs.fine_tuned} and {inputs.scratch} were not compared on the sealed test"


def _best_model(inputs: VerdictInputs) -> str:
    best = choose_best(inputs)
    if best is None or best.oof is None:
        return f"No best model can be named, because {_why_no_best(inputs)}."
    chosen = f"{best.name}, chosen by its out-of-fold {inputs.metric} on the given labels ({plain(best.oof)}), "
    chosen += "not on the test,"
    if not inputs.n_test or best.test is None:
        return f"{chosen} was not scored on a sealed test, so how it does on new data is not known."
    doing = f"reaches {plain(best.test)} on the sealed test"
    fired = sorted({a.code for a in inputs.alarms if a.model == best.name and a.severity == "alarm"})
    doubt = f" while under the alarm {', '.join(fired)}" if fired else ""
    simple = choose_best(inputs, controls=True)
    difference = _difference(inputs, best.name, simple.name) if simple else None
    if simple is None:
        return f"{chosen} {doing}{doubt}, and no simple baseline was scored out of fold to hold it against."
    if difference is None:
        return f"{chosen} {doing}{doubt}, and was not compared with the best simple baseline {simple.name}."
    words = {1: "and beats", -1: "but the simple thing wins: it loses to", 0: "and cannot be told apart from"}
    how = words[_outcome(difference, inputs.higher_is_better)]
    against = f"the best simple baseline {simple.name} (paired difference {signed(difference)})"
    return f"{chosen} {doing}{doubt}, {how} {against}."


def _why_no_best(inputs: VerdictInputs) -> str:
    own = [m.name for m in inputs.models if not m.is_control]
    if not own:
        return "no model other than controls and baselines was run"
    if {a.model for a in _barring(inputs)}.issuperset(own):
        return f"every model that is not a control stands under an alarm ({', '.join(own)})"
    return "no model free of alarms was scored out of fold, and the sealed test must not choose"


def _how_sure(inputs: VerdictInputs) -> str:
    if not inputs.n_test:
        parts = ["nothing here speaks of data the models have not seen, for there is no sealed test"]
    elif inputs.stretches is None:
        parts = [f"the sealed test is {_count(inputs.n_test, 'window')}, taken as independent cases"]
    else:
        windows, whole = _count(inputs.n_test, "window"), math.floor(inputs.stretches)
        n = _count(whole, "independent stretch", "es")
        joint = "but only" if whole < inputs.n_test else "over"
        parts = [f"the sealed test is {windows} {joint} {n} of time (calendar span / window length)"]
    parts.append(_what_fired(inputs))
    if inputs.n_draws == 1:
        parts.append("a single draw of labels cannot say what another draw would give")
    if inputs.n_seeds == 1:
        parts.append("a single seed cannot say what another seed would give")
    if inputs.transductive:
        parts.append("out-of-fold figures are transductive (the encoder saw those inputs, not their labels)")
    return f"Do not conclude more than this allows: {'; '.join(parts)}."


def _what_fired(inputs: VerdictInputs) -> str:
    models: dict[str, list[str]] = {}
    for alarm in inputs.alarms:
        named = models.setdefault(alarm.code, [])
        if alarm.model and alarm.model not in named:
            named.append(alarm.model)
    if models:
        told = [f"{code} ({', '.join(names)})" if names else code for code, names in models.items()]
        return f"alarms or notes fired: {', '.join(told)}"
    return f"none of {_count(inputs.n_checks, 'check')} fired" if inputs.n_checks else "no check was run"


def _count(n: int, one: str, plural: str = "s") -> str:
    return f"{n:,} {one if n == 1 else one + plural}"

"""The verdict: exactly three sentences, made from figures.

1. did pretraining help; 2. which honest model is best and whether it beats the simple thing; 3. what must
not be concluded. Where a piece is missing the sentence says that it is missing.

**Tests.** Three are made on the sealed test, whatever else is compared: the best model against nothing (chance), the
best model against the best simple one, and pretraining against none. They are corrected together (Holm 1979), so that
where nothing is there one of them is passed in at most 5 of 100 runs. Unless the first is passed no winner is named at
all: a difference between models that know nothing is worth nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moola.evaluation.alarms import OF_TEST_FIGURES
from moola.evaluation.comparison import corrected, plain, signed
from moola.evaluation.estimates import Alarm, Comparison, Estimate
from moola.evaluation.significance import LEVEL

FEW_SEEDS = 3
CHANCE = ""
"""Stands for a model that knows nothing, as the second of a pair."""


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
        comparisons: (model, other) -> paired comparison on the sealed test, model minus other; other may be `CHANCE`.
        fine_tuned, scratch: names of the pretrained network and of its untrained twin; "" if there is none.
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
    comparisons: Mapping[tuple[str, str], Comparison] = field(default_factory=dict)
    fine_tuned: str = ""
    scratch: str = ""
    alarms: Sequence[Alarm] = ()
    n_checks: int = 0
    n_test: int = 0
    stretches: float | None = None
    transductive: bool = False


def verdict(inputs: VerdictInputs) -> tuple[str, str, str]:
    """The three sentences: did pretraining help, what is best, what must not be concluded."""
    tests = _tests(inputs)
    return _did_pretraining_help(inputs, tests), _best_model(inputs, tests), _how_sure(inputs)


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
    return [a for a in inputs.alarms if a.severity == "alarm" and a.code not in OF_TEST_FIGURES]


def _of_the_run(inputs: VerdictInputs) -> str:
    """What takes the worth from every figure: alarms that speak of no single model; empty where there is none."""
    codes = dict.fromkeys(a.code for a in _discrediting(inputs) if not a.model)
    return f"the whole run stands under the alarm{'s' * (len(codes) > 1)} {', '.join(codes)}" if codes else ""


@dataclass(frozen=True)
class _Test:
    """One of the verdict's tests.

    Attributes:
        difference: with its interval.
        adjusted: p-value after the correction for all of them.
        outcome: 1 if the first model is better, -1 if worse, 0 if the test cannot tell.
        n_tests: tests it was corrected for.
    """

    difference: Estimate
    adjusted: float
    outcome: int
    n_tests: int

    @property
    def told(self) -> str:
        """The difference, and how sure it is."""
        if math.isnan(self.adjusted):
            return signed(self.difference)
        return f"{signed(self.difference)}, p {_p(self.adjusted)} after correction for {_count(self.n_tests, 'test')}"


def _tests(inputs: VerdictInputs) -> dict[tuple[str, str], _Test]:
    """The verdict's own tests, as far as they could be made; no other comparison has a part in them."""
    best, simple = choose_best(inputs), choose_best(inputs, controls=True)
    pairs = [(inputs.fine_tuned, inputs.scratch)]
    if best is not None:
        pairs += [(best.name, CHANCE), *([(best.name, simple.name)] if simple else [])]
    made = {pair: inputs.comparisons[pair] for pair in pairs if inputs.n_test and pair in inputs.comparisons}
    adjusted = corrected([one.p_value for one in made.values()])
    n_tests, sign = sum(map(math.isfinite, adjusted)), 1 if inputs.higher_is_better else -1
    return {
        pair: _Test(one.difference, p, (1 if sign * one.difference.value > 0 else -1) if p < LEVEL else 0, n_tests)
        for (pair, one), p in zip(made.items(), adjusted, strict=True)
    }


def _knows_something(best: Candidate, tests: Mapping[tuple[str, str], _Test]) -> bool:
    """Whether the best model is shown to be better than nothing."""
    test = tests.get((best.name, CHANCE))
    return test is not None and test.outcome > 0


def _did_pretraining_help(inputs: VerdictInputs, tests: Mapping[tuple[str, str], _Test]) -> str:
    parts = [_count(inputs.n_labels, "label"), _count(inputs.n_seeds, "seed")]
    if inputs.n_draws:
        parts.append(f"{_count(inputs.n_draws, 'draw')} of labels")
    basis = f"{', '.join(parts[:-1])} and {parts[-1]}"
    test = tests.get((inputs.fine_tuned, inputs.scratch))
    if test is None:
        return f"Whether pretraining helped cannot be said, because {_why_no_difference(inputs)} ({basis})."
    doubt = _why_pretraining_is_in_doubt(inputs, tests)
    if doubt:
        would = f"the difference would read {signed(test.difference)}"
        return f"Whether pretraining helped cannot be said, because {doubt}; {would} ({basis})."
    said = {1: "helped", -1: "hurt", 0: "made no difference that this test can show"}[test.outcome]
    said += " in the one seed that ran" if inputs.n_seeds == 1 else ""
    direction = "" if inputs.higher_is_better else ", where lower is better,"
    return (
        f"Pretraining {said} ({test.told}): this is {inputs.fine_tuned} minus {inputs.scratch} "
        f"in {inputs.metric}{direction} on the sealed test, from {basis}."
    )


def _why_pretraining_is_in_doubt(inputs: VerdictInputs, tests: Mapping[tuple[str, str], _Test]) -> str:
    """What takes the worth from the difference; empty where nothing does."""
    if doubt := _of_the_run(inputs):
        return doubt
    both = {inputs.fine_tuned, inputs.scratch}
    for alarm in _discrediting(inputs):
        if alarm.model in both:
            return f"{alarm.model} stands under the alarm {alarm.code}"
    if both <= {alarm.model for alarm in inputs.alarms if alarm.code == "not_better_than_chance"}:
        return f"neither {inputs.fine_tuned} nor {inputs.scratch} is shown to be better than chance"
    best = choose_best(inputs)
    if best is not None and not _knows_something(best, tests):
        return f"{best.name}, the best model out of fold, is not shown to be better than nothing"
    return ""


def _why_no_difference(inputs: VerdictInputs) -> str:
    if not inputs.n_test:
        return "there is no sealed test"
    if not (inputs.fine_tuned and inputs.scratch):
        return f"there is no {'scratch' if inputs.fine_tuned else 'fine-tuned'} model"
    return f"{inputs.fine_tuned} and {inputs.scratch} were not compared on the sealed test"


def _best_model(inputs: VerdictInputs, tests: Mapping[tuple[str, str], _Test]) -> str:
    best = choose_best(inputs)
    if best is None or best.oof is None:
        return f"No best model can be named, because {_why_no_best(inputs)}."
    chosen = f"{best.name}, chosen among models that are no baseline or control by its out-of-fold {inputs.metric} "
    chosen += f"on the given labels ({plain(best.oof)}{_below_simple(inputs, best)}), not on the test,"
    if doubt := _of_the_run(inputs):
        would = f"would read {plain(best.test)} on the sealed test" if inputs.n_test and best.test else "has no more"
        return f"No best model can be named, because {doubt}: {chosen} {would}."
    if not inputs.n_test or best.test is None:
        return f"{chosen} was not scored on a sealed test, so how it does on new data is not known."
    fired = sorted({a.code for a in inputs.alarms if a.model == best.name and a.severity == "alarm"})
    doubt = f" while under the alarm {', '.join(fired)}" if fired else ""
    doing = f"reaches {plain(best.test)} on the sealed test"
    if not _knows_something(best, tests):
        above = _above_chance(best, tests)
        return f"No winner is named: {chosen} {doing}{above}{doubt}, which does not show that it knows anything."
    simple = choose_best(inputs, controls=True)
    test = tests.get((best.name, simple.name)) if simple else None
    if simple is None:
        return f"{chosen} {doing}{doubt}, and no simple baseline was scored out of fold to hold it against."
    if test is None:
        return f"{chosen} {doing}{doubt}, and was not compared with the best simple baseline {simple.name}."
    words = {1: "and beats", -1: "but the simple thing wins: it loses to", 0: "and cannot be told apart from"}
    against = f"the best simple baseline {simple.name} (paired difference {test.told})"
    return f"{chosen} {doing}{doubt}, {words[test.outcome]} {against}."


def _below_simple(inputs: VerdictInputs, best: Candidate) -> str:
    """Which baseline or control is better where the choice was made; empty where none is."""
    simple, sign = choose_best(inputs, controls=True), 1 if inputs.higher_is_better else -1
    if simple is None or not (simple.oof and best.oof) or sign * simple.oof.value <= sign * best.oof.value:
        return ""
    return f", worse than the simple baseline {simple.name} with {plain(simple.oof)}"


def _above_chance(best: Candidate, tests: Mapping[tuple[str, str], _Test]) -> str:
    """What was to be shown of the best model."""
    test = tests.get((best.name, CHANCE))
    return ", which was not held against chance" if test is None else f" (above chance {test.told})"


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
    elif inputs.n_seeds < FEW_SEEDS:
        parts.append(f"{inputs.n_seeds} seeds show little of what another seed would give")
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


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"

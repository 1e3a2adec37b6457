"""Public check-suites: what an extension has to keep, as assertions that its own tests can call."""

from moola.testing.augment_checks import check_augment
from moola.testing.bar_rule_checks import check_bar_rules
from moola.testing.batches import make_batch
from moola.testing.checks import check_source, check_stage
from moola.testing.encoder_checks import check_encoder
from moola.testing.model_checks import check_model, easy_windows, small_resources
from moola.testing.objective_checks import check_objective
from moola.testing.splitter_checks import check_splitter, random_cases, random_market
from moola.testing.tracker_checks import check_tracker
from moola.testing.transform_checks import check_transform

__all__ = [
    "check_augment",
    "check_bar_rules",
    "check_encoder",
    "check_model",
    "check_objective",
    "check_source",
    "check_splitter",
    "check_stage",
    "check_tracker",
    "check_transform",
    "easy_windows",
    "make_batch",
    "random_cases",
    "random_market",
    "small_resources",
]

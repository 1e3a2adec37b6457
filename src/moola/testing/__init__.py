"""Public check-suites: what an extension has to keep, as assertions that its own tests can call."""

from moola.testing.checks import check_encoder, check_model, check_source, check_stage, check_transform

__all__ = ["check_encoder", "check_model", "check_source", "check_stage", "check_transform"]

"""The review app: one doubtful label a page, one key a decision."""

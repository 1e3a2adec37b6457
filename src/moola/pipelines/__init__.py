"""Stages, the context they pass on, hooks around them, and the log of what happened."""

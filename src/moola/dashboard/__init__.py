"""Runs and sweeps: a table for the terminal, and pages that follow them while they train."""

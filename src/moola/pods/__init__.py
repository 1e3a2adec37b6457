"""Runs on machines of other people: what travels, where to, under whose watch, and back."""

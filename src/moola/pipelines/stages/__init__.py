"""The built-in stages, one a file."""

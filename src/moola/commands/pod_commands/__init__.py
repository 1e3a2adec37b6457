"""The commands of ``moola pod``, one module each with a ``main``."""

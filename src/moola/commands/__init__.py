"""Commands that are not jobs of the pipeline: one module each, with ``main(words) -> exit code``."""

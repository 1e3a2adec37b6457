"""moola: self-supervised learning on time-series windows, with the evidence beside every figure."""

__version__ = "0.1.0"

"""What runs on a pod: standard library only, Python 3.8 or newer, each file sent as text with every request.

A pod needs nothing but Python, and no word of a user is ever part of a command line: what to do comes as JSON. ``root``
holds ``objects/`` (bytes under their SHA-256) and ``runs/RUN/``; paths are POSIX and, below it, cannot leave it.
"""

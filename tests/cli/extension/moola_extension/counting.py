"""What the stage imports."""


def count(starts) -> int:
    return len(starts)

"""Variables that move the last digits of figures: sums over other threads or by other kernels round otherwise."""

from __future__ import annotations

from collections.abc import Mapping

_MOVING = (
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "OMP_SCHEDULE",
    "OMP_THREAD_LIMIT",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
)


def moved_digits(here: Mapping[str, str], there: Mapping[str, object]) -> str:
    """What moves digits here and not on the pod, in words; empty where nothing does.

    Args:
        here: the environment of this process.
        there: the variables that the pod is given (`PodSettings.env`).
    """
    given = {name: str(value) for name, value in there.items()}
    missing = [f"pod.env.{name}={here[name]}" for name in _MOVING if here.get(name, "") not in ("", given.get(name))]
    if not missing:
        return ""
    return f"figures may differ from those of here in the last digits; the pod has no {' '.join(missing)}"

"""What an applied configuration says to operators: names of groups, in which steps a signal is set. Pure."""

from contract.model.config import Configuration
from contract.model.signal import DataType


def names_of_groups(configuration: Configuration | None) -> dict[str, str]:
    """Name of each group by uid; its uid where it has none."""
    if configuration is None:
        return {}
    return {uid: group.name or uid for uid, group in configuration.groups.items()}


def step_of(configuration: Configuration | None, uid: str) -> float | None:
    """What one raw count of a writable signal is in its unit; None where its values have no steps.

    A scaled number stands on a register of whole counts. One that is not scaled has steps only if
    it is an integer.
    """
    signal = None if configuration is None else configuration.signals.get(uid)
    if signal is None or not signal.writable or signal.type not in {DataType.FLOAT, DataType.INTEGER}:
        return None
    scaling = signal.scaling
    step = abs(scaling.factor / scaling.divisor)
    if step == 1.0:
        return 1.0 if signal.type is DataType.INTEGER else None
    return step or None

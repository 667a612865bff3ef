"""Lead names, their order, and picking leads by name or index."""

from collections.abc import Sequence

from ecg_signals.config import ConfigError, nearest, parse_literal

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def lead_index(lead: str | int, order: Sequence[str] = LEADS) -> int:
    """Row of a lead given by name (any case) or by index. Raises: ConfigError naming the nearest lead."""
    if isinstance(lead, int) or (isinstance(lead, str) and lead.isdigit()):
        index = int(lead)
        if 0 <= index < len(order):
            return index
        raise ConfigError(f"lead {index} does not exist: there are {len(order)} leads, numbered 0 to {len(order) - 1}")
    lowered = [name.lower() for name in order]
    if lead.lower() in lowered:
        return lowered.index(lead.lower())
    guess = nearest(lead, order)
    hint = f"; did you mean '{guess}'?" if guess else "."
    raise ConfigError(f"unknown lead '{lead}'{hint} Leads are {', '.join(order)}")


def lead_indices(leads: Sequence[str | int] | str | None, order: Sequence[str] = LEADS) -> list[int]:
    """Rows of several leads; None means all of them, a string such as "[0, 1]" or "I,II" is parsed."""
    if leads is None:
        return list(range(len(order)))
    if isinstance(leads, str):
        leads = parse_literal(leads, "leads") if leads.strip()[:1] in "[(" else [item.strip() for item in leads.split(",")]
    return [lead_index(lead, order) for lead in leads]

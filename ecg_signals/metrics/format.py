"""How statistics are written in log lines: rounded as fairseq-signals does, six significant digits."""

import re

DIGITS = (  # decimals by name; the first pattern that fits the name without its subset counts
    (re.compile(r"(best_)?loss(_\d+)?$|.*perplexity$|temp$|gnorm$|cinc_score$"), 3),
    (re.compile(r".*(accuracy|precision|recall)$"), 5),
    (re.compile(r"ups$"), 2),
    (re.compile(r"(clip|gb_free|data_wait|segments_per_second)$"), 1),
    (re.compile(r"(train_)?wall$"), 0),
)


def format_stat(value: float) -> str:
    """`value` with six significant digits: 0.123457, 1.23457e+06, 5e-05, nan."""
    return f"{value:g}"


def rounded(name: str, value: float) -> float:
    """`value` of the statistic `name`, rounded to that statistic's decimals."""
    for pattern, digits in DIGITS:
        if pattern.match(name):
            return round(float(value), digits)
    return value

"""Foreign text made safe and short enough to be shown to a person."""

from __future__ import annotations

import unicodedata
from datetime import timedelta

from prefect_acms.tasks.summary_model import CostRecord, GapRecord

_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories that a reader can't see: they steer terminals, or turn the direction of what follows."""

_BREAKS = {"\n", "\t"}
_MINUTE, _HOUR = 60, 3600
_CENTS_FROM = 0.1


def printable(text: str) -> str:
    """Show each invisible character by its code, line breaks and tabs excepted; nothing is lost or obeyed."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in _BREAKS or unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def one_line(text: str, limit: int = 120) -> str:
    """The text on one line of at most `limit` characters, cut with an ellipsis."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def seconds(duration: float | None) -> str:
    """A duration as a person says it: `0.04 s`, `12.3 s`, `4 min 05 s`, `1 h 02 min`; none is a dash."""
    if duration is None:
        return "-"
    if duration < 1:
        return f"{duration:.2f} s"
    if duration < _MINUTE:
        return f"{duration:.1f} s"
    whole = int(timedelta(seconds=duration).total_seconds())
    if duration < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: `1 gap`, `3 gaps`, `0 patches`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def dollars(usd: float | None) -> str:
    """An amount of money, small ones to a hundredth of a cent; none is a dash."""
    if usd is None:
        return "-"
    return f"${usd:.2f}" if usd >= _CENTS_FROM or usd == 0 else f"${usd:.4f}"


def cost_told(cost: CostRecord) -> str:
    """What models have cost, in a sentence: `$0.42 for 1200 tokens in 3 requests, $0.14 an accepted patch`."""
    tokens = count(cost.input_tokens + cost.output_tokens, "token")
    told = [f"{dollars(cost.usd)} for {tokens} in {count(cost.requests, 'request')}"]
    if cost.unpriced:
        told.append(f"{count(cost.unpriced, 'call')} without a known price")
    if cost.usd_per_accepted is None:
        told.append("no patch accepted")
    else:
        least = "at least " if cost.unpriced else ""
        told.append(f"{least}{dollars(cost.usd_per_accepted)} an accepted patch ({cost.accepted})")
    return ", ".join(told)


def day_and_time(moment: str) -> str:
    """A stored time as a person reads it: `2026-01-31 09:05:00 UTC`."""
    return f"{moment[:10]} {moment[11:19]} UTC"


def place(gap: GapRecord) -> str:
    """Where a gap is: `path:line`, further paths counted."""
    if not gap.file_paths:
        return "-"
    first = gap.file_paths[0] + (f":{gap.start_line}" if gap.start_line else "")
    return first if len(gap.file_paths) == 1 else f"{first} and {count(len(gap.file_paths) - 1, 'more file')}"


def short(commit: str | None) -> str:
    """A commit as people write it."""
    return commit[:10] if commit else "-"

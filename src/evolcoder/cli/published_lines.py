"""Published figures beside a measured one, as lines for the terminal."""

from __future__ import annotations

_BESIDE = 3
"""Published figures shown above and below a measured one."""


def beside_published(benchmark: str, decoding: str, percent: float, mark: str) -> list[str]:
    """Return lines of the published figures nearest to a measured one, best first.

    Those that were drawn otherwise (one greedy answer, or a mean over samples) stand apart, marked.
    """
    from evolcoder.evaluate.published import decoding_kind, published_for

    kind = decoding_kind(decoding)
    figures = published_for(benchmark)
    above = [p for p in figures if p.value > percent][-_BESIDE:]
    below = [p for p in figures if p.value <= percent][:_BESIDE]
    lines = [f"  measured   {percent:5.1f}{mark or ' '} <- this"]
    told = [
        f"  published  {p.value:5.1f}{' ' if decoding_kind(p.decoding) == kind else '†'} "
        f"{p.model} ({p.decoding})"
        for p in [*above, *below]
    ]
    lines = [*told[: len(above)], *lines, *told[len(above) :]]
    if any("†" in line for line in told):
        lines.append(f"  † not {kind}: does not compare")
    return lines

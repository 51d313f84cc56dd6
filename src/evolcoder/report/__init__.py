"""Reports of a run: the HTML page, the table in the terminal, the cards of a model and its data."""

from evolcoder.report.cards import write_cards
from evolcoder.report.comparing import write_comparison
from evolcoder.report.page import write_report

__all__ = ["write_cards", "write_comparison", "write_report"]

"""How credit spreads over the tokens of completions: a picture, and a page to look closer. Loads no torch."""

from rlsd_pl.commands.credit_map.page import write_credit_page
from rlsd_pl.commands.credit_map.picture import plot_credit_map
from rlsd_pl.commands.credit_map.text import clean, printable

__all__ = ["clean", "plot_credit_map", "printable", "write_credit_page"]

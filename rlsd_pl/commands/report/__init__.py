"""From run folders to a page to show to others: curves, tables with intervals, and what stands against them."""

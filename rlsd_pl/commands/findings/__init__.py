"""``docs/results.md``: from run folders to small CSVs, and from these to its tables and figures."""

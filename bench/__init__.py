"""Programs that measure; each prints ratios against a peer taken in the same run. `python -m bench --help`."""

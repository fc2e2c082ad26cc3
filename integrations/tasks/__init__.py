"""Work that nobody waits for: tasks by the clock, and calls that are answered later. Rows are the truth of both."""

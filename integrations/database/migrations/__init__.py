"""How the tables came to be, step by step: `versions/` has one file for each, numbered."""

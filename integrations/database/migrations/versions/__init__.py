"""One step each, named NNNN_what.py; the highest number is the schema this code knows. Only additions: see decision 23."""

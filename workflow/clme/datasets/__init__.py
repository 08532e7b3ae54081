"""The construction of the CLMEEval benchmark (paper, Section III-C)."""

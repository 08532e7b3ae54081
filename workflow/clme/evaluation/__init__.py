"""Decoding under an edit, and the metrics of Section III-D of the paper."""

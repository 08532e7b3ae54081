"""Figures: one style, one file per subject."""

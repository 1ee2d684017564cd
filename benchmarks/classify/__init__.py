"""Labelling, measured: what a tweet costs here, beside other programs with the same tuned model."""

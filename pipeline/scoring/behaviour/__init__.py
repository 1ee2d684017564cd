"""Tests of behaviour: small made-up tweets that show what a classifier can do, cell by cell."""

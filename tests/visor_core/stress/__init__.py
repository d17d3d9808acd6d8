"""Tests of the package stress."""

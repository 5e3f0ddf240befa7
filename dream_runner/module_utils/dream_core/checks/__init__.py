"""Checks before and during an install, and the findings that they report."""

"""Checks before and during an install, with a finding for each."""

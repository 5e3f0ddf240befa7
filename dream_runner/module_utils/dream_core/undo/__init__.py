"""Uninstall, and roll back a failed change."""

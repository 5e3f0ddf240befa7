"""Uninstall, and rollback of a failed change."""

"""What Ansible ships to managed hosts beside a module."""

"""Read an inventory: its files, Ansible's loader, and the hosts."""

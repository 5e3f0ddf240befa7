"""The inventory: its files, how Ansible reads them, and the hosts in them."""

"""Ansible plugins that run in the process of ansible-playbook."""

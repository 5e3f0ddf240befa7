"""Install many machines over SSH: order of hosts, their state, and model files."""

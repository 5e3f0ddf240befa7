"""Many machines over SSH: what is ours is the order, the truth and the bytes."""

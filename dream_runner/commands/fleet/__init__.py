"""``dream-runner fleet``: the commands of one machine, for many machines over SSH."""

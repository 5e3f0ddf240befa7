"""``dream-runner fleet``: the verbs of one machine, for many, over SSH."""

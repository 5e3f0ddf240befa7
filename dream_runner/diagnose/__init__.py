"""Find problems: the checks of doctor, the support archive, anonymous captures."""

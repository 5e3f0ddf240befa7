"""The kinds of resources that an install creates: how each is observed and removed."""

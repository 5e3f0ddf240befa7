"""The kinds of resources that an install makes: how each is observed and removed."""

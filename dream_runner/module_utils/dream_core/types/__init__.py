"""The documents that rooms hand to each other, one file a subject, each key with its unit.

They are dictionaries when the program runs. A part of the code that makes one returns its type;
JSON from a file or a program gets its type in the one place that reads and checks it.
"""

"""The types of documents that packages exchange, one file per subject, each key with its unit.

They are dictionaries at run time. A function that creates a document returns its type; JSON from a
file or a program gets its type where it is read and checked.
"""

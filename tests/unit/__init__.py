"""Tests of one room each; a folder has the name of its room."""

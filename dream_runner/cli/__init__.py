"""The command line: options, output, completion."""

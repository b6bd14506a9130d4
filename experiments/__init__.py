"""Experiments: specs, runners and the command line."""

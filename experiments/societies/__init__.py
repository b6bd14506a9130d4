"""Societies: Mesa models made of the library's games, mechanisms and policies; they take Mesa."""

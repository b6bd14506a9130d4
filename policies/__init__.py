"""Policies: scripted, learned and language-model players."""

"""Faces: one adapter from a game to each interface that users know."""

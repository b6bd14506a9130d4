"""Mechanisms: functions from game to game."""

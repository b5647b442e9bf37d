"""Sensorium: one tool for seeing, reading and hearing, from your own data to a deployed model."""

__version__ = "0.1.0"

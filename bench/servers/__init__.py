"""Servers under measurement: their configuration, processes, CPU time and memory."""

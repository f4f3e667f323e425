"""Runs: what answers a chat, from what was asked to the last event."""

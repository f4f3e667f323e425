"""Runs that outlive their client, and what is kept of them for whoever comes back."""

"""From the contract to the domain and back: pure functions."""

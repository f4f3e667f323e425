"""What replicas know of each other, by way of the store."""

"""Images in messages: what they are, how they are read, where they show in a prompt."""

"""What an engine says, read: its raw output as steps of an answer."""

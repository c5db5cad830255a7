"""Foreign programs that train and translate the same, each in an environment of its own."""

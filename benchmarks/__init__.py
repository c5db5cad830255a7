"""What the suite costs on this machine, relative to what a user would take instead: README.md."""

"""What goes on inside a trained network, seen from outside: nothing in a network knows of it."""

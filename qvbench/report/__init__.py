"""From run folders to a results folder: table, figure, page. Reads files alone, needs no torch."""

"""What a config costs: parameters, FLOPs, what decoding keeps, time and memory of a step."""

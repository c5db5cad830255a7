"""Measures of a model: token accuracy and loss over a whole set, BLEU and chrF with signatures."""

"""Stage three: from a file of predictions to numbers, figures and a page. Needs no model and no torch."""

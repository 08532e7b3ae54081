"""Tables, figures and the paper; reads result files only and needs no torch."""

"""One run on a machine elsewhere: what travels, who lends the machine, and how the results come back."""

"""Claims: published numbers and theorems, each in a file with its source and what is run to see whether it holds here."""

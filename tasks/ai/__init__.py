"""Models: what of a repository they are shown, what they may answer, and the program in which they are asked."""

"""The commands of `relay`, one file for each. They print; what they print about is somewhere else."""

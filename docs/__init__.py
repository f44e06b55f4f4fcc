"""The documentation site: pages, recipes that are tested, and what makes pages out of the code."""

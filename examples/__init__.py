"""Three complete applications, each with its routes, sample data and one command, such as `python -m examples.shop`."""

"""A page for people who do not type commands: each of its buttons is a call of the API or a command."""

"""Statements: what a team used and spent in a week or a month, by e-mail to the team."""

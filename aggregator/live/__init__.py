"""The present: newest values, who is there, and the feed that browsers watch."""

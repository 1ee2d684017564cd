"""Asking a teacher model for tweets and for labels: what it is told, what it answers, what that costs."""

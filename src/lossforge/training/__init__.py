"""Cohort training: many replicas of one network in one training."""

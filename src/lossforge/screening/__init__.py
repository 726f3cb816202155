"""The funnel that rejects candidates before they cost a training."""

"""Measurements. They print figures and assert nothing: machines are noisy, ratios of one run are not."""

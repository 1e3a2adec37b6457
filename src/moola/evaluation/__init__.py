"""What a number is worth: metrics, intervals, controls, alarms, the verdict and the report."""

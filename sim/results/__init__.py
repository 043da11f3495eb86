"""Results of evaluations: success rates with intervals, curves, reports and videos."""

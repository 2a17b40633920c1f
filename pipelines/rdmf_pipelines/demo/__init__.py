"""The demo: videos planned as data, drawn and written; the steps from there to a report, by the real commands' code."""

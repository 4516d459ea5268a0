"""Usage totals and what is made of them: reports, exports, key activity, forecasts and the usage API."""

"""Exports of usage: tables of what a page shows, of its records and for finance, as CSV, XLSX and JSON."""

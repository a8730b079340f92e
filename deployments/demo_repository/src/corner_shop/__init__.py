"""Prices, discounts and receipts of a small shop."""

"""Pure rules of keys, limits and budgets: no Django, database or clock."""

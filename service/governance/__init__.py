"""Access, rate limits and budgets of callers. Decisions are pure; a Store remembers."""

"""Who may ask for what, how often, and for how much money. Decisions are pure; a Store remembers."""
